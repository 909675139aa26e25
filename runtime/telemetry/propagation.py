"""W3C trace context, as strings in headers and as the few bytes that a span needs of its parent.

Format: https://www.w3.org/TR/trace-context-2/#traceparent-header. Written by hand because every message passes here.
"""

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from antiphon.schemas.envelope import TRACEPARENT, TRACESTATE

SAMPLED: Final = 1  # bit 0 of the flags; other bits may be set too (03: sampled, random id), so never compare
_LENGTH: Final = 55  # 00-{32}-{16}-{2}
_LONGEST: Final = 512  # of a traceparent of a later version
_LONGEST_STATE: Final = 8192
_NO_TRACE: Final = bytes(16)
_NO_SPAN: Final = bytes(8)


class Parent(Protocol):
    """What a span, local or remote, passes on to its children."""

    @property
    def trace_id(self) -> bytes:
        """16 bytes."""
        ...

    @property
    def span_id(self) -> bytes:
        """8 bytes."""
        ...

    @property
    def flags(self) -> int:
        """W3C trace flags."""
        ...

    @property
    def state(self) -> str:
        """W3C tracestate, passed on unread."""
        ...


class RemoteParent(msgspec.Struct, frozen=True, gc=False):
    """A span elsewhere."""

    trace_id: bytes
    span_id: bytes
    flags: int
    state: str = ""


def parse(traceparent: str, tracestate: str = "") -> RemoteParent | None:
    """The span that two header values name, or None where they name none.

    Strict about version 00; of later versions the first 55 characters are read, as the standard asks. A tracestate
    that cannot be one is dropped and the parent kept.
    """
    text = traceparent if len(traceparent) == _LENGTH else _first_part(traceparent)
    if len(text) != _LENGTH or not text[2] == text[35] == text[52] == "-" or text != text.lower():
        return None
    try:
        raw = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        return None
    # fromhex skips blanks, so a short result also means that there were some, or a dash too many
    if len(raw) != 26 or raw[0] == 0xFF:
        return None
    trace_id, span_id = raw[1:17], raw[17:25]
    if trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    if tracestate and not (len(tracestate) <= _LONGEST_STATE and tracestate.isascii() and tracestate.isprintable()):
        tracestate = ""
    return RemoteParent(trace_id, span_id, raw[25], tracestate)


def extract(headers: Mapping[str, str]) -> RemoteParent | None:
    """The span that sent a message with these headers, or None."""
    traceparent = headers.get(TRACEPARENT)
    return parse(traceparent, headers.get(TRACESTATE, "")) if traceparent else None


def inject(span: Parent) -> tuple[str, str]:
    """traceparent and tracestate for messages that ``span`` sends; both empty for a span without identity."""
    if span.span_id == _NO_SPAN:
        return "", ""
    return f"00-{span.trace_id.hex()}-{span.span_id.hex()}-{span.flags:02x}", span.state


def _first_part(traceparent: str) -> str:
    """The 55 characters that every version begins with, or something else where they cannot be told."""
    text = traceparent.strip(" \t")
    later = text[:3] != "00-" and len(traceparent) <= _LONGEST and text[_LENGTH : _LENGTH + 1] == "-"
    return text[:_LENGTH] if later else text
