"""Fields of typed replies: how large each is, and which of them a handler run used.

Use is told from data, as lineage is: a field counts as read when a text of it, 12 characters or longer, is in a later
request or in the result. A field without such a text cannot be told and counts as read; what a handler computes from
a text and does not pass on is not seen. (Watching the reply's attributes would see more, but an object that notes
reads has a class of its own, and code that asks for ``type(reply)`` or serializes a union would behave differently in
the runs that are watched.)
"""

import zlib
from typing import Any, Final

import msgspec

from antiphon.runtime.lineage import GRAM, MAX_TEXT, leaves, texts

LEAST_BYTES: Final = 128  # smaller results have no fields worth a list
FIELDS: Final = 64  # of one result that are named
REPLIES: Final = 64  # of one run that are watched
SENT_CHARACTERS: Final = 1 << 20  # in all requests and the result; beyond, nothing is said of the run
EVERY: Final = 16  # of so many runs one is watched

_PARTS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def field_sizes(body: bytes) -> list[str]:
    """``name:bytes`` of each field of a JSON object; empty for small ones and for anything else."""
    if len(body) < LEAST_BYTES or body[:1] != b"{":
        return []
    try:
        parts = _PARTS.decode(body)
    except msgspec.DecodeError:
        return []
    return [f"{name}:{len(bytes(raw))}" for name, raw in parts.items()][:FIELDS]


def is_watched(run: str) -> bool:
    """Whether this is one of the runs whose field use is recorded: the same on every node."""
    return zlib.crc32(run.encode("utf-8", "replace")) % EVERY == 0


class FieldsRead:
    """What one handler run was given and what it passed on. Memory is bounded by the constants above."""

    __slots__ = ("_characters", "_replies", "_sent")

    def __init__(self) -> None:
        self._replies: list[tuple[str, dict[str, Any]]] = []
        self._sent: set[str] = set()
        self._characters = 0

    def given(self, operation: str, reply: bytes) -> None:
        """A reply came of ``operation`` (a span id); one that is no JSON object has no fields."""
        if len(self._replies) < REPLIES and reply[:1] == b"{":
            try:
                self._replies.append((operation, msgspec.json.decode(reply, type=dict[str, Any])))
            except msgspec.DecodeError:
                return  # a text that only looks like JSON

    def sent(self, body: bytes) -> None:
        """A request or the result left the handler."""
        for text in texts(body):
            self._characters += len(text)
            if self._characters <= SENT_CHARACTERS:
                self._sent.update(text[i : i + GRAM] for i in range(len(text) - GRAM + 1))

    def found(self) -> list[str] | None:
        """``operation:name,name`` for each reply; None where more was sent than is looked at."""
        if self._characters > SENT_CHARACTERS:
            return None
        return [
            f"{operation}:{','.join(name for name, value in fields.items() if self._is_read(value))}"
            for operation, fields in self._replies
        ]

    def _is_read(self, value: Any) -> bool:
        long = [text for text in leaves(value) if len(text) >= GRAM]
        return not long or any(
            text[i : i + GRAM] in self._sent for text in long for i in range(min(len(text), MAX_TEXT) - GRAM + 1)
        )
