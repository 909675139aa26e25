"""``POST /v1/traces``: spans of programs that know nothing of us, beside ours, for the logging agent and the store.

https://opentelemetry.io/docs/specs/otlp/#otlphttp. Protobuf and JSON, gzip. Prompts among the attributes are hashed and
dropped here, unless contents are captured: what is stored is what the settings say.
"""

import asyncio
import json
import zlib
from collections.abc import Callable
from typing import Final

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from antiphon.runtime.console.asking import BadRequest, read
from antiphon.runtime.errors import InvalidMessage
from antiphon.runtime.store.rows import check_span
from antiphon.runtime.telemetry import otlp_json
from antiphon.runtime.telemetry.feed import LIMIT, Feed
from antiphon.runtime.telemetry.foreign_spans import ForeignSpans
from antiphon.schemas.telemetry import SpanRecord

PATH: Final = "/v1/traces"
BODY_BYTES: Final = 16 * 1024 * 1024  # also when unpacked; the SDK sends 512 spans, which are about 200 kB
JSON: Final = "application/json"
PROTOBUF: Final = "application/x-protobuf"
RETRY_AFTER_S: Final = 1

log = structlog.get_logger(__name__)


class Receiver:
    """Takes spans to ``feed``, which carries them to the bus. ``content_hash`` is the deployment's."""

    def __init__(self, feed: Feed, content_hash: Callable[[bytes], str], *, capture_content: bool) -> None:
        self._feed = feed
        self._foreign = ForeignSpans(content_hash, capture_content=capture_content)

    def routes(self) -> list[BaseRoute]:
        """Where it is found."""
        return [Route(PATH, self.receive, methods=["POST"])]

    async def receive(self, request: Request) -> Response:
        """Take what can be taken, and say what could not."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in (JSON, PROTOBUF):
            return _refused(JSON, 415, f"content-type {kind[:80]!r}: expected {PROTOBUF} or {JSON}")
        try:
            body = await read(request, BODY_BYTES)
            return await asyncio.to_thread(self.take, kind, _unpacked(body, request.headers.get("content-encoding")))
        except BadRequest as error:
            return _refused(kind, error.status, error.message)
        except InvalidMessage as error:
            return _refused(kind, 400, error.message)

    def take(self, kind: str, body: bytes) -> Response:
        """The answer to an unpacked body. Raises InvalidMessage if it is no request at all."""
        spans, rejected = _from_json(body) if kind == JSON else _from_protobuf(body)
        waiting = self._feed.stats().waiting
        if waiting and waiting + len(spans) > LIMIT:
            return _refused(kind, 429, f"{waiting:,} spans wait for the bus: send these again")
        for span in spans[:LIMIT]:
            try:
                check_span(span)
                _check_ids(span)
            except InvalidMessage:
                rejected += 1
            else:
                self._feed.add_span(self._foreign.row(span))
        beyond = max(len(spans) - LIMIT, 0)
        if rejected or beyond:
            log.warning("otlp_spans_rejected", received=len(spans), rejected=rejected, beyond_limit=beyond)
        return _taken(kind, rejected, beyond)


def _unpacked(body: bytes, encoding: str | None) -> bytes:
    if not encoding or encoding == "identity":
        return body
    if encoding != "gzip":
        raise BadRequest(415, f"content-encoding {encoding[:40]!r}: expected gzip or none")
    unpacking = zlib.decompressobj(wbits=31)
    try:
        found = unpacking.decompress(body, BODY_BYTES + 1)
    except zlib.error as error:
        raise BadRequest(400, f"the body is no gzip: {error}") from None
    if len(found) > BODY_BYTES:
        raise BadRequest(413, f"the body has more than {BODY_BYTES:,} bytes unpacked: send fewer spans at once")
    if not unpacking.eof:
        raise BadRequest(400, "the body is gzip that breaks off")
    if unpacking.unused_data:
        raise BadRequest(400, "the body goes on after its gzip: expected one member")
    return found


def _from_json(body: bytes) -> tuple[list[SpanRecord], int]:
    try:
        request = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidMessage(f"no ExportTraceServiceRequest in JSON: {error}") from None
    if not isinstance(request, dict) or not isinstance(request.get("resourceSpans", []), list):
        raise InvalidMessage("no ExportTraceServiceRequest in JSON: expected an object with a list resourceSpans")
    return otlp_json.counted_spans_of(request)


def _from_protobuf(body: bytes) -> tuple[list[SpanRecord], int]:
    from antiphon.runtime.telemetry.otlp_proto import spans_of

    return spans_of(body)


def _check_ids(span: SpanRecord) -> None:
    """Of zeros only they are nobody's, by the specification; as one trace they would join strangers. InvalidMessage."""
    if not (any(span.trace_id) and any(span.span_id)):
        raise InvalidMessage(f"span {span.name[:80]!r} has an id of zeros")


def _taken(kind: str, unfit: int, beyond: int) -> Response:
    rejected = unfit + beyond
    reasons = [f"{unfit:,} with ids or times that no span can have"] if unfit else []
    if beyond:
        reasons.append(f"{beyond:,} beyond the {LIMIT:,} that one request may have: send fewer at once")
    message = "; ".join(reasons)
    if kind == PROTOBUF:
        from antiphon.runtime.telemetry.otlp_proto import response

        return Response(response(rejected, message), media_type=PROTOBUF)
    said = {"partialSuccess": {"rejectedSpans": str(rejected), "errorMessage": message}} if rejected else {}
    return Response(json.dumps(said), media_type=JSON)


def _refused(kind: str, status: int, message: str) -> Response:
    headers = {"retry-after": str(RETRY_AFTER_S)} if status == 429 else None
    if kind == PROTOBUF:
        from antiphon.runtime.telemetry.otlp_proto import refusal

        return Response(refusal(message), status, headers, PROTOBUF)
    return Response(json.dumps({"message": message}), status, headers, JSON)
