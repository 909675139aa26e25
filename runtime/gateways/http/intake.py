"""What comes in: bodies of bounded size and time, JSON that is JSON, and parameters that are checked."""

import asyncio
import re
from typing import Any

from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request

from antiphon.runtime.gateways.http.leaving import Gone
from antiphon.runtime.gateways.http.refusals import Refusal

BODY_S = 60.0  # a body that takes longer to arrive is given up
SHORTEST_S = 1.0  # less than that is no time to answer
ASK_S = 30.0  # an answer is waited for this long unless the caller says
LONGEST_S = 600.0  # and this long at most
TASK_S = 30 * 86_400.0  # the longest that a task may be given

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_POSITION = re.compile(r"(\d{1,9})\.(\d{1,12})", re.ASCII)
END_ID = "end"


async def read_json(request: Request, max_bytes: int) -> Any:
    """The body of a request.

    Raises:
        Refusal: another content type (415), too large (413), too slow (408), no JSON (400).
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(415, "UnsupportedMediaType", f"content-type {kind[:80]!r}: expected application/json")
    body = await _read(request, max_bytes)
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Refusal(400, "InvalidJson", f"the body is no JSON: {error}") from None


async def _read(request: Request, max_bytes: int) -> bytes:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 18 or int(length) > max_bytes):
        raise _too_large(max_bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                body += part
                if len(body) > max_bytes:
                    raise _too_large(max_bytes)
    except TimeoutError:
        raise Refusal(408, "BodyTimeout", f"the body did not arrive within {BODY_S:g} s") from None
    except ClientDisconnect:
        raise Gone from None
    return bytes(body)


def _too_large(max_bytes: int) -> Refusal:
    return Refusal(
        413, "BodyTooLarge", f"the body has more than {max_bytes:,} bytes: send less", {"connection": "close"}
    )


def timeout_s(request: Request, *, default_s: float | None, most_s: float) -> float | None:
    """The query parameter ``timeout_s``. Raises Refusal (422)."""
    given = request.query_params.get("timeout_s")
    if given is None:
        return default_s
    try:
        found = float(given)
    except ValueError:
        found = 0.0
    if not SHORTEST_S <= found <= most_s:
        raise Refusal(
            422, "InvalidParameter", f"timeout_s is {given[:40]!r}, expected {SHORTEST_S:g} to {most_s:g} seconds"
        )
    return found


def idempotency_key(request: Request) -> str | None:
    """The header ``Idempotency-Key``. Raises Refusal (400)."""
    key = request.headers.get("idempotency-key")
    if key is not None and _KEY.fullmatch(key) is None:
        raise Refusal(400, "InvalidHeader", "Idempotency-Key: expected 1 to 255 printable ASCII characters, no spaces")
    return key


def last_event(request: Request) -> tuple[int, int] | None:
    """Where a reader of events was, by its header ``Last-Event-ID``; None: it has seen the end.

    Raises:
        Refusal: no number of ours (400).
    """
    given = request.headers.get("last-event-id", "").strip()
    if given == END_ID:
        return None
    found = _POSITION.fullmatch(given or "0.0")
    if found is None:
        raise Refusal(400, "InvalidHeader", f"Last-Event-ID {given[:40]!r}: expected the id of an earlier event")
    return int(found[1]), int(found[2])


def wants_events(request: Request) -> bool:
    """Whether the caller asks for server-sent events."""
    return "text/event-stream" in request.headers.get("accept", "").lower()
