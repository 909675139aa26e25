"""Attribute values made fit for the record: OpenTelemetry's types only, and of bounded size.

Traces hold what strangers send. A value that is too long is cut and its key listed under ``antiphon.clipped``; what
does not fit at all is left out and counted under ``otel.dropped_attributes_count``.
"""

from collections.abc import Mapping, Sequence, Set
from itertools import islice
from typing import Any, Final

from antiphon.runtime.telemetry.attributes import CLIPPED, DROPPED_ATTRIBUTES, DROPPED_EVENTS, DROPPED_LINKS

TEXT_BYTES: Final = 8 * 1024  # longest string
KEY_BYTES: Final = 256
ITEMS: Final = 1024  # longest sequence
ATTRIBUTES: Final = 128  # most attributes of a span, event, link or log
RECORD_BYTES: Final = 128 * 1024  # all of one record: half a batch, so that every record fits one
_COUNTS: Final = frozenset((DROPPED_ATTRIBUTES, DROPPED_EVENTS, DROPPED_LINKS))
_INT_MAX = (1 << 63) - 1  # OTLP's and SQLite's integers
_DECIMAL_BITS = 4096  # beyond this Python may refuse to print decimal digits


def plain(value: object) -> Any:
    """``value`` as one of OpenTelemetry's types, uncut; None stays None and means that there is no value.

    Integers beyond 64 bits become their digits, bytes hexadecimal, anything else but a sequence its ``str``.
    """
    kind = type(value)
    if kind is str or kind is bool or kind is float or value is None:
        return value
    if isinstance(value, int):
        if -_INT_MAX <= value <= _INT_MAX:
            return int(value)
        return str(value) if value.bit_length() <= _DECIMAL_BITS else hex(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, bytes):
        return value[:TEXT_BYTES].hex()
    if isinstance(value, Sequence | Set):
        return [_scalar(item) for item in islice(value, ITEMS + 1)]  # one more than fits, so that the cut is seen
    return _text_of(value)


def clean(attributes: Mapping[Any, object]) -> dict[str, Any]:
    """A copy of ``attributes`` that fits the record, with what was cut or left out marked."""
    fitting = Fitting()
    out = fitting.attributes(attributes)
    return fitting.marked(out)


class Fitting:
    """Makes the parts of one record fit together into RECORD_BYTES, first come first served."""

    def __init__(self) -> None:
        self._clipped: set[str] = set()
        self._dropped: dict[str, int] = {}
        self._left = RECORD_BYTES

    def attributes(self, given: Mapping[Any, object]) -> dict[str, Any]:
        """The attributes that fit, cut to size; the rest is counted. Marks of an earlier cleaning are taken over."""
        out: dict[str, Any] = {}
        for key, value in given.items():
            if key in _COUNTS and type(value) is int:
                self.drop(key, value)
            elif key == CLIPPED and isinstance(value, list):
                self._clipped.update(map(_text_of, value))
            elif len(out) >= ATTRIBUTES or self._left <= 0:
                self.drop(DROPPED_ATTRIBUTES, 1)
            else:
                name = _cut(key if type(key) is str else _text_of(key), KEY_BYTES)
                fit = self._fit(name, plain(value))
                if fit is not None:
                    out[name] = fit
        return out

    def drop(self, count: str, number: int) -> None:
        """Say that ``number`` things are missing, under one of OpenTelemetry's names for that."""
        if number:
            self._dropped[count] = self._dropped.get(count, 0) + number

    def text(self, key: str, text: str) -> str:
        """A string cut to size; ``key`` is what it is listed under."""
        short = _cut(text, TEXT_BYTES)
        if len(short) < len(text):
            self._clipped.add(key)
        self._left -= len(short)
        return short

    def room(self) -> bool:
        """Whether anything more fits."""
        return self._left > 0

    def marked(self, attributes: dict[str, Any]) -> dict[str, Any]:
        """``attributes``, with marks for what was cut or left out."""
        if self._clipped:
            attributes[CLIPPED] = sorted(self._clipped)[:ATTRIBUTES]
        attributes.update(self._dropped)
        return attributes

    def _fit(self, key: str, value: Any) -> Any:
        self._left -= len(key) + 9
        if isinstance(value, str):
            return self.text(key, value)
        if isinstance(value, list):
            return self._items(key, value)
        return value

    def _items(self, key: str, items: list[Any]) -> list[Any]:
        out: list[Any] = []
        room = TEXT_BYTES
        for item in items[:ITEMS]:
            room -= len(item) + 1 if isinstance(item, str) else 9
            if room < 0:
                break
            out.append(_cut(item, TEXT_BYTES) if isinstance(item, str) else item)
        if len(out) < len(items):
            self._clipped.add(key)
        self._left -= TEXT_BYTES - room
        return out


def _scalar(item: object) -> Any:
    return plain(item) if isinstance(item, str | int | float | bytes) else _text_of(item)


def _cut(text: str, limit: int) -> str:
    if len(text) * 3 <= limit and text.isascii():
        return text
    raw = text.encode("utf-8", "replace")  # a lone surrogate has no encoding
    return raw[:limit].decode("utf-8", "ignore")


def _text_of(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # a stranger's __str__ may do anything; the record says what it did
        return f"<{type(value).__name__}: {type(error).__name__}>"
