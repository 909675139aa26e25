"""Which operations may share one result, what makes two of them equal, and how a result is given a second time."""

from collections.abc import Hashable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from pydantic import TypeAdapter

from antiphon.runtime.delivery.model_call import ModelCall, describe_request
from antiphon.runtime.guards.held_back import show_whole
from antiphon.runtime.policies.chain import Operation, Outcome
from antiphon.runtime.policies.written import Written
from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.tool import ToolRun
from antiphon.schemas.inference import FinishReason, Reply
from antiphon.schemas.policy import Policy
from antiphon.schemas.task import Effect

_ANY: TypeAdapter[Any] = TypeAdapter(Any)
_OF_THE_CALLER: Final = {"run", "task", "priority", "deadline_unix_ms"}  # parts of a request that do not change a reply


@dataclass(frozen=True, slots=True)
class Work:
    """An operation that may share results. ``reads``: what it sees may change. ``ttl_s``: as its tool declares."""

    key: Hashable
    reads: bool
    ttl_s: float | None

    def fresh(self, seen: int, run: str, written: Written) -> bool:
        """Whether work that began when there were ``seen`` writes saw all that the run has written."""
        return not self.reads or seen >= written.last(run)


@dataclass(frozen=True, slots=True)
class Shared:
    """A result as others may have it: bytes, so that nobody changes what another was given."""

    body: bytes
    record: bytes

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        return len(self.body) + len(self.record) + 512

    async def outcome(self, operation: Operation) -> Outcome:
        """The outcome of an equal operation; a reader who waits for its text is shown all of it at once."""
        assert operation.restore is not None  # else it was not taken
        value = operation.restore(self.record or self.body)
        call = operation.request
        if isinstance(call, ModelCall):
            describe_request(operation.attributes, call.request)
            if call.show is not None and isinstance(value, Reply):
                await show_whole(call.show, value.text)
        return Outcome(value, self.body, self.record)


def work_of(operation: Operation, policy: Policy) -> Work | None:
    """What the operation shares with equal ones; None: it must not.

    Pure tools, tools that read and declare a ttl, and model calls with temperature 0 or a seed. Equal are those of one
    tenant, one tool or model, one input, under this state of the policy and the same arms of all others: what another
    policy changes must not leak into its control arm.
    """
    request = operation.request
    tool = ttl_s = None
    if operation.restore is None:
        return None
    if isinstance(request, ModelCall) and operation.effect is Effect.PURE:
        given = request.request.model_dump_json(exclude=_OF_THE_CALLER).encode()
    elif isinstance(request, ToolRun) and request.tool.effect is not Effect.WRITE:
        tool = request.tool  # two of one name, of two agents, are not the same
        ttl_s = tool.ttl_s
        if tool.effect is Effect.READ and ttl_s is None:
            return None
        # Not the operation's body: a guard may have put other arguments into its place.
        given = _ANY.dump_json({name: value for name, value in request.arguments.items() if name != tool.KEY})
    else:
        return None
    key = (
        policy.id,
        policy.since_unix_ms,
        operation.scope.tenant,
        operation.kind,
        operation.target,
        tool,
        blake2b(given, digest_size=16).digest(),
        tuple(operation.attributes.get(names.POLICY_ARM, ())),
    )
    return Work(key, reads=operation.effect is Effect.READ, ttl_s=ttl_s)


def shared(operation: Operation, outcome: Outcome) -> Shared | None:
    """The outcome as others may have it; None: it is theirs alone who asked.

    Not a reply that was cut off by its caller's deadline, and nothing that would come back as something else than it
    was, such as a tuple of a tool without annotation.
    """
    value: Any = outcome.value
    if isinstance(value, Reply) and value.finish.reason is FinishReason.CANCELLED:
        return None
    assert operation.restore is not None  # work_of has looked
    found = Shared(outcome.body, outcome.record)
    again = operation.restore(found.record or found.body)
    return found if type(again) is type(value) and again == value else None
