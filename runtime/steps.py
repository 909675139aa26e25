"""Functions with an outside effect: whether they take an idempotency key, and how their results come back."""

import inspect
import typing
from collections.abc import Callable
from functools import lru_cache, partial
from types import CodeType
from typing import Any, NamedTuple

import msgspec
from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Step(NamedTuple):
    """``takes_key``: its first parameter without default is the idempotency key. ``restore``: result from JSON."""

    takes_key: bool
    restore: Callable[[bytes], Any]


def step_of(function: Callable[..., Any]) -> Step:
    """What a function with an effect looks like. Its annotation is looked at when a result is restored."""
    return Step(_takes_key(function), partial(_restore, function))


def _takes_key(function: Callable[..., Any]) -> bool:
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType) or hasattr(function, "__wrapped__"):
        parameters = inspect.signature(function).parameters.values()
        return any(each.kind in _POSITIONAL and each.default is inspect.Parameter.empty for each in parameters)
    # What a signature would say, at a twentieth of its cost: most functions are made anew for every call.
    defaults = getattr(function, "__defaults__", None) or ()
    bound = getattr(function, "__self__", None) is not None
    return code.co_argcount - len(defaults) - bound > 0


def _restore(function: Callable[..., Any], record: bytes) -> Any:
    return restorer(function)(record)


def restorer(function: Callable[..., Any]) -> Callable[[bytes], Any]:
    """Makes a function's result from its JSON: of the annotated type, else what JSON has."""
    hint = getattr(function, "__annotations__", {}).get("return")
    if hint is not None and not isinstance(hint, type):  # a string, or something made of other types
        try:
            hint = typing.get_type_hints(function).get("return")
        except (NameError, TypeError):
            hint = None
    if hint in (None, Any, type(None)):
        return msgspec.json.decode
    try:
        return _typed(hint)
    except TypeError:  # an annotation without hash, such as Annotated with a list
        return _typed.__wrapped__(hint)


@lru_cache(maxsize=256)
def _typed(hint: Any) -> Callable[[bytes], Any]:
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(hint)
    except PydanticSchemaGenerationError:
        return msgspec.json.decode

    def restore(record: bytes) -> Any:
        try:
            return adapter.validate_json(record)
        except ValidationError:
            return msgspec.json.decode(record)  # the function returns something else than it says

    return restore
