"""A second attempt beside one that lasts too long."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from antiphon.runtime.delivery.model_call import ModelCall
from antiphon.runtime.errors import ModelUnavailable
from antiphon.runtime.policies.chain import Operation, OperationKind, Outcome, Scope
from antiphon.runtime.policies.hedge import Hedger
from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.testing import virtual_time
from antiphon.schemas.inference import GenerateRequest, Role, turn
from antiphon.schemas.policy import Hedge, Level, Policy, Proposal
from antiphon.schemas.task import Effect

MODEL, TOOL, ASK, RUN = OperationKind.MODEL, OperationKind.TOOL, OperationKind.ASK, OperationKind.RUN


def policy(*, delay_s: float = 1.0, budget: float = 0.5) -> Policy:
    """A hedge that is on."""
    action = Hedge(delay_s=delay_s, budget=budget)
    return Policy(id="h", proposal=Proposal(action=action, target="tool search"), level=Level.ON)


def operation(kind: OperationKind = TOOL, effect: Effect = Effect.READ, *, show: Any = None) -> Operation:
    """An operation of a handler."""
    request = GenerateRequest(model="m", conversation=(turn(Role.USER, "hi"),))
    return Operation(
        kind=kind,
        path="1",
        target="search",
        scope=Scope(tenant="default", run="r", agent="writer"),
        body=b"",
        effect=effect,
        request=ModelCall(request=request, show=show) if kind is MODEL else None,
    )


class Server:
    """Answers after so many seconds each, an error where one is given; notes what began and what was cancelled."""

    def __init__(self, *answers: float | tuple[float, Exception], pool: tuple[int, int] | None = None) -> None:
        self._answers = list(answers)
        self._pool = pool
        self.began: list[Operation] = []
        self.cancelled: list[int] = []

    async def __call__(self, operation: Operation) -> Outcome:
        """Carry an operation out."""
        number = len(self.began)
        self.began.append(operation)
        answer = self._answers[number] if number < len(self._answers) else 0.1
        after_s, error = answer if isinstance(answer, tuple) else (answer, None)
        try:
            await asyncio.sleep(after_s)
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        if self._pool is not None:
            operation.attributes[names.POOL_ACTIVE], operation.attributes[names.POOL_CAPACITY] = self._pool
        operation.attributes["by"] = number
        if error is not None:
            raise error
        return Outcome(number, b"%d" % number)


def hedger(told: list[str] | None = None) -> Hedger:
    """One that notes which peers were told that nobody waits."""

    async def give_up(waiter: str) -> None:
        if told is not None:
            told.append(waiter)

    return Hedger(give_up)


async def saved_up(hedge: Hedger, rule: Policy, make: Callable[[], Operation] = operation, calls: int = 2) -> None:
    """So many quick calls, which earn tokens."""
    for _ in range(calls):
        await hedge(make(), rule, Server())


async def lasting(work: Awaitable[Outcome]) -> Any:
    """What it returned and after how many seconds, to be compared."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    return (await work).value, loop.time() - began_s


@virtual_time(seeds=range(3))
async def test_the_second_attempt_wins_where_the_first_is_slow() -> None:
    """It begins after the delay, its answer and its facts are the operation's, and the first one is cancelled."""
    hedge, rule, server, asked = hedger(), policy(), Server(9.0, 0.5), operation()
    await saved_up(hedge, rule)
    assert await lasting(hedge(asked, rule, server)) == (1, pytest.approx(1.5))
    assert server.cancelled == [0]
    assert asked.attributes["by"] == 1


@virtual_time(seeds=range(3))
async def test_the_first_attempt_may_still_win() -> None:
    """Then the second is cancelled."""
    hedge, rule, server, asked = hedger(), policy(), Server(1.2, 5.0), operation()
    await saved_up(hedge, rule)
    assert await lasting(hedge(asked, rule, server)) == (0, pytest.approx(1.2))
    assert server.cancelled == [1]
    assert asked.attributes["by"] == 0


@virtual_time()
async def test_quick_calls_are_not_hedged() -> None:
    """What ends before the delay is done once."""
    hedge, rule, server = hedger(), policy(), Server(0.9)
    await saved_up(hedge, rule)
    await hedge(operation(), rule, server)
    assert len(server.began) == 1


@virtual_time()
async def test_a_failure_is_no_answer_while_the_other_attempt_runs() -> None:
    """The other's success counts; where both fail the later error is raised."""
    hedge, rule = hedger(), policy()
    await saved_up(hedge, rule, calls=4)
    gone = ModelUnavailable("gone")
    assert await lasting(hedge(operation(), rule, Server((1.2, gone), 3.0))) == (1, pytest.approx(4.0))
    assert await lasting(hedge(operation(), rule, Server(4.0, (0.1, gone)))) == (0, pytest.approx(4.0))
    with pytest.raises(ModelUnavailable, match="first"):  # the second's error came before
        await hedge(operation(), rule, Server((3.0, ModelUnavailable("first")), (0.1, ModelUnavailable("second"))))
    early = Server((0.1, gone))
    with pytest.raises(ModelUnavailable):  # before the delay: a hedge is no retry
        await hedge(operation(), rule, early)
    assert len(early.began) == 1


@virtual_time()
async def test_no_more_than_the_budget_is_hedged() -> None:
    """Of 200 slow calls with a budget of 5 % ten have a second attempt, and the first nineteen none."""
    hedge, rule = hedger(), policy(budget=0.05)
    hedged = []
    for number in range(200):
        server = Server(2.0, 2.0)
        await hedge(operation(), rule, server)
        if len(server.began) == 2:
            hedged.append(number)
    assert len(hedged) == 10
    assert hedged[0] == 19


@pytest.mark.parametrize(
    ("kind", "effect"), [(TOOL, Effect.WRITE), (ASK, Effect.WRITE), (RUN, Effect.READ), (OperationKind.CALL, "read")]
)
def test_what_may_write_or_may_use_ctx_is_done_once(kind: OperationKind, effect: Effect) -> None:
    """A tool or ask that is not declared to read, functions of ctx.run, and durable work."""

    @virtual_time()
    async def once() -> None:
        hedge, rule, server = hedger(), policy(), Server(9.0)
        await saved_up(hedge, rule)
        assert await lasting(hedge(operation(kind, effect), rule, server)) == (0, pytest.approx(9.0))
        assert len(server.began) == 1

    once()


@virtual_time()
async def test_a_reply_that_is_shown_as_it_comes_is_not_hedged() -> None:
    """Readers would see it twice; one that is not shown is hedged, whatever its temperature."""

    async def show(text: str) -> None:
        raise AssertionError("nothing is shown here")

    hedge, rule, shown, silent = hedger(), policy(), Server(9.0), Server(9.0)
    await saved_up(hedge, rule, calls=4)
    await hedge(operation(MODEL, show=show), rule, shown)
    await hedge(operation(MODEL), rule, silent)
    assert (len(shown.began), len(silent.began)) == (1, 2)


@pytest.mark.parametrize(("pool", "attempts"), [((7, 10), 2), ((8, 10), 1), ((1, 1), 1), (None, 2)])
def test_a_busy_pool_is_not_given_more(pool: tuple[int, int] | None, attempts: int) -> None:
    """Where the last answer said that more than 70 % of its pool was busy there is no second attempt."""

    @virtual_time()
    async def slow() -> None:
        hedge, rule = hedger(), policy()
        for _ in range(2):
            await hedge(operation(), rule, Server(0.1, pool=pool))
        server = Server(9.0)
        await hedge(operation(), rule, server)
        assert len(server.began) == attempts

    slow()


@virtual_time(seeds=range(3))
async def test_the_peer_that_lost_is_told() -> None:
    """Each attempt of an ask has an id of its own, by which its peer learns that nobody waits any more."""
    told: list[str] = []
    hedge, rule, server = hedger(told), policy(), Server(9.0)
    await saved_up(hedge, rule, lambda: operation(ASK))
    assert not told
    await hedge(operation(ASK), rule, server)
    first, second = (each.waiter for each in server.began)
    assert first != second
    assert told == [first]


@virtual_time()
async def test_whoever_gives_up_stops_both_attempts() -> None:
    """A cancelled operation leaves nothing running."""
    hedge, rule, server = hedger(), policy(), Server(9.0, 9.0)
    await saved_up(hedge, rule)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await hedge(operation(), rule, server)
    assert sorted(server.cancelled) == [0, 1]
