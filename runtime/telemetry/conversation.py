"""Messages of a conversation as a span carries them: JSON that is whole whatever was said.

A span cuts long texts, and JSON that is cut is none: so long parts are shortened here, and then the oldest messages
left out, except the first, which often is the system's.
"""

import json
from typing import Any, Final

MOST_BYTES: Final = 8 * 1024  # where spans cut
_NOTE_BYTES: Final = 80  # room for brackets and for saying how many messages are left out
_LENGTHS: Final = (2048, 512, 128)  # characters of a part, the first with which all of it fits

Json = dict[str, Any]


def text_part(text: str) -> Json:
    """A part that is plain text."""
    return {"type": "text", "content": text}


def fitted(messages: list[Json]) -> str:
    """Messages as JSON text: long parts are shortened, then all are left out but the first and the newest.

    A part is a text, a call of a tool (``arguments``) or what it returned (``response``).
    """
    text, shortened = _json(messages), messages
    for length in _LENGTHS:
        if _bytes(text) <= MOST_BYTES:
            return text
        shortened = [
            {**message, "parts": [_short_part(part, length) for part in message["parts"]]} for message in messages
        ]
        text = _json(shortened)
    return text if _bytes(text) <= MOST_BYTES else _json(_newest(shortened))


def _newest(messages: list[Json]) -> list[Json]:
    """The first part, and as many of the last as there is room for, each as a message."""
    first, *rest = ({**message, "parts": [part]} for message in messages for part in message["parts"])
    room = MOST_BYTES - _NOTE_BYTES - _bytes(_json(first))
    kept: list[Json] = []
    for message in reversed(rest):
        room -= _bytes(_json(message)) + 1
        if room < 0:
            break
        kept.append(message)
    note = text_part(f"({len(rest) - len(kept)} messages left out)")
    return [{**first, "parts": [*first["parts"], note]}, *reversed(kept)]


def _short_part(part: Json, length: int) -> Json:
    field = {"text": "content", "tool_call": "arguments"}.get(part["type"], "response")
    value = part[field]
    text = value if isinstance(value, str) else _json(value)
    if len(text) <= length:
        return part
    return {**part, field: f"{text[:length]}… ({len(text) - length} characters left out)"}


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
