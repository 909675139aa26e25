"""Policies around operations: arms on the span, an order that is fixed, and remedies that break cost nothing else."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
import structlog

from antiphon.runtime.errors import AntiphonError, InvalidResult, ModelUnavailable
from antiphon.runtime.policies.chain import Next, Operation, OperationKind, Outcome, Scope
from antiphon.runtime.policies.interceptor import PolicyInterceptor
from antiphon.runtime.policies.kinds import ORDER
from antiphon.runtime.policies.live import LivePolicies
from antiphon.runtime.policies.remedies import remedies_of
from antiphon.runtime.policies.remedy import Remedy
from antiphon.runtime.policies.written import Written
from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.testing import ManualClock, VirtualClock, virtual_time
from antiphon.schemas.policy import (
    Action,
    Affinity,
    Batch,
    Cache,
    Hedge,
    Level,
    Policy,
    Priority,
    Proposal,
    Retry,
    Route,
    SingleFlight,
    Timeout,
)
from antiphon.schemas.task import Effect

Way = Callable[[Operation, Policy, Next], Awaitable[Outcome]]
ACTIONS: Mapping[str, Action] = {
    "affinity": Affinity(),
    "batch": Batch(window_s=1),
    "cache": Cache(ttl_s=1),
    "hedge": Hedge(delay_s=1),
    "priority": Priority(order=1),
    "retry": Retry(attempts=2),
    "route": Route(model="n"),
    "single_flight": SingleFlight(),
    "timeout": Timeout(timeout_s=1),
}


class Bench:
    """An interceptor with remedies of the test's own, around an operation that is counted."""

    def __init__(self, policies: list[Policy], remedies: Mapping[str, Any]) -> None:
        self.live = LivePolicies()
        self.live.give(policies)
        self.written = Written()
        self.done = 0
        self.error: Exception | None = None
        self.stuck = False
        self.intercept = PolicyInterceptor(self.live, remedies, self.written, VirtualClock())

    async def __call__(self, operation: Operation) -> Outcome:
        """Carry the operation out through the interceptor."""
        return await self.intercept(operation, self.next)

    async def next(self, operation: Operation) -> Outcome:
        """What the transport would do; it takes a minute where the test says so."""
        self.done += 1
        if self.stuck:
            await asyncio.sleep(60)
        if self.error is not None:
            raise self.error
        return Outcome(self.done, b"%d" % self.done)


def of(kind: str, **how: Any) -> Policy:
    """A policy of that kind about model m."""
    proposal = Proposal(action=ACTIONS[kind], target="model m", agent=how.pop("agent", None))
    return Policy(**{"id": kind, "proposal": proposal, "level": Level.ON, **how})


def operation(kind: OperationKind = OperationKind.MODEL, target: str = "m", run: str = "r") -> Operation:
    """An operation of the agent ``writer``."""
    effect = Effect.PURE if kind is OperationKind.MODEL else Effect.WRITE
    scope = Scope(tenant="default", run=run, agent="writer")
    return Operation(kind=kind, path="1", target=target, scope=scope, body=b"", effect=effect)


def noting(calls: list[str]) -> Way:
    """A remedy that notes when it is come by."""

    async def remedy(operation: Operation, policy: Policy, next: Next) -> Outcome:
        calls.append(policy.id)
        return await next(operation)

    return remedy


@virtual_time()
async def test_remedies_act_in_a_fixed_order() -> None:
    """Whatever the ids and the order in which they were set."""
    calls: list[str] = []
    policies = [of(kind) for kind in sorted(ORDER)]
    bench = Bench(policies, dict.fromkeys(ORDER, noting(calls)))
    await bench(operation())
    assert calls == [*ORDER]


@virtual_time()
async def test_arms_and_findings_are_on_the_span() -> None:
    """Of every policy that is about the operation, at work or not; suggestions are about nothing."""
    calls: list[str] = []
    policies = [
        of("cache", finding="f1"),
        of("retry", level=Level.CANARY, share=0.0, finding="f2"),
        of("timeout", level=Level.SUGGEST, finding="f3"),
        of("hedge", agent="clerk"),
    ]
    bench = Bench(policies, dict.fromkeys(ORDER, noting(calls)))
    found = operation()
    await bench(found)
    assert found.attributes[names.POLICY_ARM] == ["cache=treated", "retry=control"]
    assert found.attributes[names.FINDING_ID] == ["f1", "f2"]
    assert calls == ["cache"]


@virtual_time()
async def test_a_canary_treats_a_share_of_the_runs() -> None:
    """And a run is either treated or not."""
    calls: list[str] = []
    bench = Bench([of("cache", level=Level.CANARY, share=0.3)], {"cache": noting(calls)})
    for _ in range(2):
        for run in range(400):
            await bench(operation(run=f"run-{run}"))
    assert 160 < len(calls) < 320 and len(calls) % 2 == 0


@virtual_time()
async def test_a_remedy_that_breaks_is_gone_round_and_told_of_once() -> None:
    """Before anything began: the operation is done as if there were no policy."""

    async def broken(operation: Operation, policy: Policy, next: Next) -> Outcome:
        raise KeyError("its code path is gone")

    bench = Bench([of("cache")], {"cache": broken})
    with structlog.testing.capture_logs() as said:
        assert [(await bench(operation())).value for _ in range(3)] == [1, 2, 3]
    assert [line["event"] for line in said] == ["policy_broke"]
    assert "its code path is gone" in said[0]["error"]


@virtual_time()
async def test_what_is_done_is_not_done_again() -> None:
    """A remedy that breaks afterwards loses its effect, not the result."""

    async def late(operation: Operation, policy: Policy, next: Next) -> Outcome:
        await next(operation)
        raise KeyError("late")

    bench = Bench([of("cache")], {"cache": late})
    assert (await bench(operation())).value == 1
    assert bench.done == 1


@virtual_time()
async def test_a_remedy_that_breaks_while_the_work_is_under_way_is_an_error() -> None:
    """Nobody knows whether the work happens."""

    async def torn(operation: Operation, policy: Policy, next: Next) -> Outcome:
        under_way = asyncio.ensure_future(next(operation))
        await asyncio.sleep(0)
        under_way.cancel()
        raise KeyError("torn")

    bench = Bench([of("cache")], {"cache": torn})
    bench.stuck = True
    with pytest.raises(KeyError, match="torn"):
        await bench(operation())
    assert bench.done == 1


@pytest.mark.parametrize("error", [ValueError("the tool's own"), ModelUnavailable("away"), InvalidResult("odd")])
@virtual_time()
async def test_the_operations_own_error_passes(error: Exception) -> None:
    """Through all remedies, once, and nothing is said of a policy."""
    bench = Bench([of("cache"), of("route")], dict.fromkeys(ORDER, noting([])))
    bench.error = error
    with structlog.testing.capture_logs() as said, pytest.raises(type(error)) as raised:
        await bench(operation())
    assert raised.value is error
    assert bench.done == 1 and said == []


@virtual_time()
async def test_an_error_of_ours_that_a_remedy_raises_is_its_answer() -> None:
    """Such as a deadline that it set."""

    async def refuses(operation: Operation, policy: Policy, next: Next) -> Outcome:
        raise AntiphonError("no")

    bench = Bench([of("timeout")], {"timeout": refuses})
    with pytest.raises(AntiphonError, match="no"):
        await bench(operation())
    assert bench.done == 0


@virtual_time()
async def test_a_kind_that_this_process_does_not_know_does_nothing() -> None:
    """An older node beside newer ones; it says so once."""
    bench = Bench([of("hedge")], {})
    found = operation()
    with structlog.testing.capture_logs() as said:
        assert [(await bench(found)).value for _ in range(2)] == [1, 2]
    assert [(line["event"], line["kind"]) for line in said] == [("policy_without_remedy", "hedge")]


@virtual_time()
async def test_writes_are_noted_for_those_who_share_results() -> None:
    """Tools, steps and state; peers elsewhere, whose writes are not seen; not those whose own writes are."""
    bench = Bench([of("cache")], {"cache": noting([])})
    bench.live.agents = frozenset({"writer"})
    noted: list[bool] = []
    for kind, target in (
        (OperationKind.MODEL, "m"),
        (OperationKind.ASK, "writer.write"),
        (OperationKind.TOOL, "t"),
        (OperationKind.RUN, "step"),
        (OperationKind.STATE, "put"),
        (OperationKind.CALL, "critic.review"),
    ):
        before = bench.written.last("r")
        await bench(operation(kind, target))
        noted.append(bench.written.last("r") > before)
    assert noted == [False, False, True, True, True, True]


@virtual_time()
async def test_without_policies_an_operation_is_passed_on_as_it_is() -> None:
    """The very same awaitable, so that nothing is added to it."""
    bench = Bench([of("cache", level=Level.SUGGEST)], {})
    made = bench.next(operation())
    assert bench.intercept(operation(), lambda _: made) is made
    await made


def test_there_is_a_remedy_for_every_kind_that_acts_around_operations() -> None:
    """Those that this version can be told of it can do."""
    remedies: Mapping[str, Remedy] = remedies_of(
        clock=ManualClock(),
        models=None,  # type: ignore[arg-type]  # nothing is asked of it here
        telemetry=None,  # type: ignore[arg-type]
        written=Written(),
        aside=None,  # type: ignore[arg-type]
        give_up=None,  # type: ignore[arg-type]
        rng=random.Random(1),
    )
    assert sorted(remedies) == sorted(ORDER)
