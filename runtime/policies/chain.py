"""One operation of a handler, and the chain of interceptors it passes on its way to the transport.

Order, outermost first: journal, trace, deadline, guards, policies, budget, intent, transport. The journal is outermost
because an operation that another attempt has recorded happens no more: no span is made, nothing spent. The budget is
inside the policies: what one answers from earlier work costs nothing, what one repeats costs again.
An interceptor sees the operation, may answer it, change its deadline, or pass it on; handlers hold none of this.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from antiphon.schemas.task import Effect

if TYPE_CHECKING:
    from antiphon.runtime.branches import Joint
    from antiphon.runtime.delivery.task_run import TaskRun
    from antiphon.runtime.guards.guard import Guards
    from antiphon.runtime.telemetry.tracer import LightSpan


class OperationKind(StrEnum):
    """What a handler or client may ask of the world."""

    ASK = "ask"  # low-latency request, not stored
    CALL = "call"  # durable child task, waited for
    SUBMIT = "submit"  # durable task, not waited for
    PUBLISH = "publish"  # event
    MODEL = "model"
    TOOL = "tool"
    RUN = "run"  # a function with an effect, through ctx.run
    STATE = "state"
    APPROVE = "approve"  # ask a person
    SLEEP = "sleep"

    __hash__ = str.__hash__  # in C; an enumeration's own is Python, and every operation looks up its kind five times


class Scope(NamedTuple):
    """On whose behalf an operation is made; travels in headers to whatever it causes.

    A named tuple for the same reason as the envelope: one per message.
    """

    tenant: str
    run: str
    agent: str = ""  # empty: an outside client
    task: str = ""  # empty: not durable
    attempt: int = 1
    deadline_unix_ms: int | None = None
    priority: int = 0
    labels: Mapping[str, str] = MappingProxyType({})
    budget: Mapping[str, float] = MappingProxyType({})
    observes: bool = False


@dataclass(slots=True, kw_only=True)
class Operation:
    """One operation. ``body`` is the canonical request; ``path`` its place in the handler (``3.b.1``).

    ``target`` is an address, topic, model, tool or step name. ``deadline_unix_ms`` starts as the scope's and never
    passes it. ``attributes`` go onto the span. ``request`` is what the transport needs beyond the body.
    ``task_run`` is None outside durable work, ``joint`` outside the branches of a gather or group. ``key`` is the
    idempotency key; an ``unkeyed`` write cannot use it, so its intent is journaled first, and ``resolve`` may say what
    became of one whose result is missing. ``restore`` makes the value from its recorded bytes. ``guards`` are the
    agent's, and ``rebind`` makes the request of a tool from other arguments (JSON values).
    """

    kind: OperationKind
    path: str
    target: str
    scope: Scope
    body: bytes
    effect: Effect = Effect.WRITE
    request: Any = None
    deadline_unix_ms: int | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    span: "LightSpan | None" = None
    span_id: str = ""  # of the span that recorded it in an earlier attempt
    task_run: "TaskRun | None" = None
    joint: "Joint | None" = None
    key: str = ""
    unkeyed: bool = False
    version: str = ""  # of the peer's code that must do durable work; empty: any
    resolve: Callable[[str], Awaitable["Happened | None"]] | None = None
    restore: Callable[[bytes], Any] | None = None
    guards: "Guards | None" = None
    rebind: Callable[[dict[str, Any]], Any] | None = None
    waiter: str = ""  # of an ask that may be given up: by this id the peer is told


class Outcome(NamedTuple):
    """What came of an operation: ``value`` for the handler, ``body`` its canonical bytes.

    ``record`` is what the journal keeps where ``body`` is not enough to restore the value.
    """

    value: Any
    body: bytes
    record: bytes = b""


@dataclass(frozen=True, slots=True)
class Happened:
    """What a resolver says of a write that did happen: what it had returned."""

    value: Any = None


Next = Callable[[Operation], Awaitable[Outcome]]


class Interceptor(Protocol):
    """One concern around every operation; a plain function where it has nothing to wait for."""

    def __call__(self, operation: Operation, next: Next, /) -> Awaitable[Outcome]:
        """Answer the operation, or pass it on: ``next(operation)``."""
        ...


def build(interceptors: Sequence[Interceptor], transport: Next) -> Next:
    """The chain as one function, first interceptor outermost."""
    chain = transport
    for interceptor in reversed(interceptors):
        chain = _bind(interceptor, chain)
    return chain


def _bind(interceptor: Interceptor, next: Next) -> Next:
    def step(operation: Operation) -> Awaitable[Outcome]:
        return interceptor(operation, next)

    return step
