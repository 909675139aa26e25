"""The texts inside a JSON value. Keys and numbers are not looked at."""

from collections.abc import Callable, Iterator
from typing import Any


def texts(value: Any) -> Iterator[str]:
    """Every text, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for child in value.values():
            yield from texts(child)
    elif isinstance(value, list):
        for child in value:
            yield from texts(child)


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """The value with each text changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: mapped(child, change) for key, child in value.items()}
    if isinstance(value, list):
        return [mapped(child, change) for child in value]
    return value
