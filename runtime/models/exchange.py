"""What both halves of a model on the bus agree on: pace, headers, errors.

The client asks on ``model.{model}``, naming a stream subject of its own; the server answers at once with Accepted or
an error, then sends numbered ChunkBatches on that subject until a Finish or an error. The stream's id names the
control subject on which the client says that it still reads, or that it has gone. Either side takes a long silence
of the other for its death, so a kill -9 on one leaves nothing behind on the other.
"""

from dataclasses import dataclass
from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from antiphon.runtime.errors import AntiphonError, ModelError, ModelUnavailable
from antiphon.schemas import subjects
from antiphon.schemas.envelope import TRACEPARENT, TRACESTATE, Envelope
from antiphon.schemas.inference import DescribeModel, EmbedRequest, GenerateRequest, InspectModel

_W3C: Final = TraceContextTextMapPropagator()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds. ``silence_s`` is several signs of life long, so that one lost message or a stall kills nothing."""

    sign_s: float = 2.0  # between signs of life, both ways
    silence_s: float = 10.0  # after which the other side is taken for dead
    coalesce_s: float = 0.03  # chunks of this long travel together; the first goes at once
    accept_s: float = 5.0  # for a server to take a request
    answer_s: float = 60.0  # for vectors or capabilities, for which it may have to load; a deadline may say less
    grace_s: float = 0.5  # after a deadline, for the server's own Finish to arrive
    stall_s: float = 0.25  # for a process whose loop stood still to see what has arrived meanwhile


def control_of(tenant: str, request_id: str) -> str:
    """Where the reader of a reply signals its server."""
    return subjects.control(tenant, "model", request_id)


def inspection_of(tenant: str, model: str) -> str:
    """Where every server of a model answers an InspectModel, and not one of them."""
    return subjects.control(tenant, "metrics", model)


def request_headers(
    request: GenerateRequest | EmbedRequest | DescribeModel | InspectModel, reply: str = ""
) -> dict[str, str]:
    """Identity, limits and the current span's context; ``reply`` is the subject for chunks."""
    trace: dict[str, str] = {}
    _W3C.inject(trace)
    asked = request if isinstance(request, GenerateRequest | EmbedRequest) else None
    return Envelope(
        type=request.message_name,
        version=request.message_version,
        run=(asked.run if asked else None) or "",
        task=(asked.task if asked else None) or "",
        deadline_unix_ms=asked.deadline_unix_ms if asked else None,
        priority=request.priority if isinstance(request, GenerateRequest) else 0,
        reply=reply,
        traceparent=trace.get(TRACEPARENT, ""),
        tracestate=trace.get(TRACESTATE, ""),
    ).headers()


def context_of(envelope: Envelope) -> Context:
    """The OTel context that the sender of a request was in."""
    return _W3C.extract({TRACEPARENT: envelope.traceparent, TRACESTATE: envelope.tracestate})


def model_error(error: AntiphonError) -> ModelError:
    """The error as a ModelError; any other kind is a fault of the server, retryable where that kind is."""
    if isinstance(error, ModelError):
        return error
    kind = ModelUnavailable if error.retryable else ModelError
    return kind(f"{type(error).__name__}: {error.message}", **error.details)
