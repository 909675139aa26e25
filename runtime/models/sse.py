"""Server-sent events, as far as a model's reply uses them, as a pure and bounded parser.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream. Only ``data`` fields
matter here; a missing blank line at the end drops the last event, as the standard says.
"""

from typing import Final

LONGEST_EVENT: Final = 4 * 1024 * 1024  # bytes; a whole tool call may come as one event


class EventTooLong(ValueError):
    """A line or an event exceeds the bound."""


class EventParser:
    """Feed it bytes as they come; it gives the data of each complete event."""

    def __init__(self, longest: int = LONGEST_EVENT) -> None:
        self._longest = longest
        self._line = bytearray()
        self._after_return = False
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, received: bytes) -> list[str]:
        """The data of the events that ``received`` completes; invalid UTF-8 is replaced.

        Raises:
            EventTooLong: more than the bound without an end.
        """
        if self._after_return and received:
            received = received.removeprefix(b"\n")  # the second half of \r\n
            self._after_return = False
        self._after_return = received.endswith(b"\r")
        *lines, rest = received.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        events = []
        for line in lines:
            whole = bytes(self._line) + line
            self._line.clear()
            event = self._take(whole)
            if event is not None:
                events.append(event)
        self._line += rest
        self._bound(len(self._line))
        return events

    def _take(self, line: bytes) -> str | None:
        if not line:
            data, self._data, self._size = self._data, [], 0
            return b"\n".join(data).decode("utf-8", "replace") if data else None
        field, _, value = line.partition(b":")
        if field == b"data":
            self._bound(len(value))
            self._data.append(value.removeprefix(b" "))
            self._size += len(value)
        return None

    def _bound(self, more: int) -> None:
        if self._size + more > self._longest:
            raise EventTooLong(f"an event of more than {self._longest} bytes")
