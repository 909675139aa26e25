"""Which earlier results of a handler run found their way into a later request.

The rule is the one of pattern P1 (serial independent calls): a common run of 12 characters in a text value,
unless the handler's own input already had it. It sees data, not control flow: a branch on an earlier
yes or no leaves no trace here.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

GRAM = 12
MAX_TEXT = 32_768  # characters of one text that are looked at


class Lineage:
    """Results of one handler run, by 12-character runs. Memory is bounded by MAX_TEXT per text."""

    __slots__ = ("_clipped", "_grams", "_known")

    def __init__(self, own_input: bytes) -> None:
        self._clipped = False
        self._known = {gram for text in texts(own_input) for gram in _grams(text)}
        self._grams: dict[str, str] = {}

    def record(self, operation: str, result: bytes) -> None:
        """Remember what ``operation`` (a span id) returned; a later operation with the same text takes over."""
        for text in texts(result):
            self._clipped |= len(text) > MAX_TEXT
            for gram in _grams(text):
                if gram not in self._known:
                    self._grams[gram] = operation

    def causes(self, request: bytes) -> list[str] | None:
        """The operations whose results share a run of 12 characters with ``request``, in order of appearance.

        None: a text was too long to be looked at whole, so an empty list would prove nothing.
        """
        found: dict[str, None] = {}
        for text in texts(request):
            self._clipped |= len(text) > MAX_TEXT
            for gram in _grams(text):
                operation = self._grams.get(gram)
                if operation is not None:
                    found[operation] = None
        return None if self._clipped else list(found)


def texts(body: bytes) -> Iterator[str]:
    """The text values of a JSON document; keys and numbers are not content that flows."""
    return _leaves(msgspec.json.decode(body)) if body else iter(())


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
        return
    children: Iterable[Any] = ()
    if isinstance(value, dict):
        children = value.values()
    elif isinstance(value, list):
        children = value
    for child in children:
        yield from _leaves(child)


def _grams(text: str) -> list[str]:
    text = text[:MAX_TEXT]
    return [text[i : i + GRAM] for i in range(len(text) - GRAM + 1)]
