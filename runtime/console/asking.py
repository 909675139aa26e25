"""What a request asks: parameters and bodies that are checked, ids that are ids, and answers as JSON."""

import asyncio
import binascii
from typing import TypeVar

from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from antiphon.runtime.delivery.payload import problems
from antiphon.schemas.message import Value

BODY_BYTES = 1_000_000
BODY_S = 30.0
Q = TypeVar("Q", bound=Value)


class BadRequest(Exception):
    """The caller's mistake: status, and what to do."""

    def __init__(self, status: int, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind or ("NotFound" if status == 404 else "BadRequest")


class Nothing(Value):
    """No parameters."""


def query(request: Request, form: type[Q]) -> Q:
    """The parameters of the address. Raises BadRequest."""
    try:
        return form.model_validate(dict(request.query_params))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))[:80]
        raise BadRequest(400, f"parameter {name!r}: {first['msg']}") from None


async def body(request: Request, form: type[Q]) -> Q:
    """The body as JSON of this form. Raises BadRequest: too large (413), too slow (408), another form (422)."""
    raw = await read(request, BODY_BYTES)
    try:
        return form.model_validate_json(raw)
    except ValidationError as error:
        raise BadRequest(422, problems(error), "InvalidMessage") from None


async def read(request: Request, most: int) -> bytes:
    """The body's bytes. Raises BadRequest (413, 408); ClientDisconnect is one that nobody will read the answer to."""
    found = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                found += part
                if len(found) > most:
                    raise BadRequest(413, f"the body has more than {most:,} bytes: send less", "BodyTooLarge")
    except TimeoutError:
        raise BadRequest(408, f"the body did not arrive within {BODY_S:g} s", "BodyTimeout") from None
    except ClientDisconnect:
        raise BadRequest(400, "the body broke off", "BodyBroken") from None
    return bytes(found)


def span_ids(text: str) -> tuple[bytes, bytes]:
    """Trace and span of TRACE.SPAN. Raises BadRequest."""
    trace, _, span = text.partition(".")
    try:
        ids = binascii.unhexlify(trace), binascii.unhexlify(span)
    except ValueError:
        ids = b"", b""
    if (len(ids[0]), len(ids[1])) != (16, 8):
        raise BadRequest(400, "span: expected TRACE.SPAN, 32 and 16 hexadecimal digits")
    return ids


def answer(value: Value) -> Response:
    """As JSON."""
    return Response(value.model_dump_json(by_alias=True), media_type="application/json")
