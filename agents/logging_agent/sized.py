"""Attributes that say how large named parts are: "name:bytes" each."""

from antiphon.runtime.whatif import facts
from antiphon.schemas.telemetry import SpanRecord

_NAMES = 256  # a reply or a prompt with more parts says nothing here
_DIGITS = 12


def sizes(span: SpanRecord, key: str) -> dict[str, int]:
    """Bytes by name; empty where nothing was recorded, or anything else than was expected."""
    items = facts.texts(span, key) or ()
    found: dict[str, int] = {}
    for item in items:
        name, _, size = item.rpartition(":")
        if len(items) > _NAMES or not (name and size.isascii() and size.isdigit() and len(size) <= _DIGITS):
            return {}
        found[name] = int(size)
    return found
