"""Which earlier results of a handler run found their way into a later request.

The rule is the one of pattern P1 (serial independent calls): a common run of 12 characters in a text value, unless the
handler's own input already had it, or it was the handler that said it first, in a short text of an earlier request. It
sees data, not control flow: a branch on an earlier yes or no leaves no trace here.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

GRAM = 12
LONG = 256  # characters: shorter texts are scanned anew, which is cheap
MAX_TEXT = 32_768  # characters of one text that are looked at


class Lineage:
    """Results of one handler run, by 12-character runs. Memory is bounded by MAX_TEXT per text."""

    __slots__ = ("_clipped", "_grams", "_input", "_known", "_results", "_scanned")

    def __init__(self, own_input: bytes) -> None:
        self._clipped = False
        self._input: bytes | None = own_input  # not looked at before something is asked: most handlers end before
        self._known: set[str] = set()
        self._grams: dict[str, str] = {}
        self._results: list[tuple[str, bytes]] = []
        self._scanned: dict[tuple[int, int], tuple[str, ...]] = {}  # long texts by hash and length

    def record(self, operation: str, result: bytes) -> None:
        """Remember what ``operation`` (a span id) returned; a later operation with the same text takes over."""
        self._results.append((operation, result))

    def causes(self, request: bytes) -> list[str] | None:
        """The operations whose results share a run of 12 characters with ``request``, in order of appearance.

        None: a text was too long to be looked at whole, so an empty list would prove nothing.
        """
        self._look()
        found: dict[str, None] = {}
        for text in texts(request):
            self._clipped |= len(text) > MAX_TEXT
            found.update(dict.fromkeys(self._causes_of(text)))
        return None if self._clipped else list(found)

    def _causes_of(self, text: str) -> tuple[str, ...]:
        if len(text) < LONG:
            # Tools echo what they are asked. What the handler said by itself is nobody's result when it comes back.
            self._known.update(gram for gram in _grams(text) if gram not in self._grams)
            return self._scan(text)
        # A conversation is sent again with every turn: what its earlier texts were made of has been found before.
        key = (hash(text), len(text))
        known = self._scanned.get(key)
        if known is None:
            known = self._scanned[key] = self._scan(text)
        return known

    def _scan(self, text: str) -> tuple[str, ...]:
        found = (self._grams.get(gram) for gram in _grams(text))
        return tuple(dict.fromkeys(operation for operation in found if operation is not None))

    def _look(self) -> None:
        """Take apart what was recorded since the last time."""
        if self._input is not None:
            self._known = {gram for text in texts(self._input) for gram in _grams(text)}
            self._input = None
        for operation, result in self._results:
            for text in texts(result):
                self._clipped |= len(text) > MAX_TEXT
                for gram in _grams(text):
                    if gram not in self._known:
                        self._grams[gram] = operation
        self._results.clear()


def texts(body: bytes) -> Iterator[str]:
    """The text values of a JSON document; keys and numbers are not content that flows."""
    return leaves(msgspec.json.decode(body)) if body else iter(())


def leaves(value: Any) -> Iterator[str]:
    """The texts in a value that came of JSON."""
    if isinstance(value, str):
        yield value
        return
    children: Iterable[Any] = ()
    if isinstance(value, dict):
        children = value.values()
    elif isinstance(value, list):
        children = value
    for child in children:
        yield from leaves(child)


def _grams(text: str) -> list[str]:
    text = text[:MAX_TEXT]
    return [text[i : i + GRAM] for i in range(len(text) - GRAM + 1)]
