"""Fan-out: bounded, partial, with a quorum, and the same on every attempt."""

import asyncio

import pytest
from pydantic import Field

from antiphon import Agent, Context, Message, System
from antiphon.runtime.delivery.parking import Parking
from antiphon.runtime.errors import ConfigurationError, QuorumMissed
from antiphon.runtime.patterns.fan_out import fan_out
from antiphon.runtime.patterns.pipeline import pipeline
from antiphon.runtime.testing import memory_system, virtual_time
from antiphon.schemas.policy import Level, Policy, Proposal, Quorum

ENOUGH = Policy(id="q", level=Level.ON, proposal=Proposal(action=Quorum(needed=2), target="boss.work"))


class N(Message):
    n: int


class Tally(Message):
    values: dict[int, int] = Field(default_factory=dict)
    errors: dict[int, str] = Field(default_factory=dict)
    unfinished: tuple[int, ...] = ()


class Workers:
    """An agent whose handler doubles, refuses 99, waits for ever for negative numbers, and counts."""

    def __init__(self) -> None:
        self.agent = Agent("worker", slots=64, first_retry_s=0.01)
        self.active = 0
        self.most = 0
        self.ran: list[int] = []

        @self.agent.handles
        async def double(message: N, ctx: Context) -> N:
            self.active += 1
            self.most = max(self.most, self.active)
            self.ran.append(message.n)
            try:
                if message.n == 99:
                    raise ConfigurationError("99 is refused")
                if message.n < 0:
                    await asyncio.Event().wait()
                await asyncio.sleep(0.01)
                return N(n=message.n * 2)
            finally:
                self.active -= 1

        self.double = double


@virtual_time(seeds=range(5))
async def test_at_most_so_many_run_at_once_and_every_message_is_done() -> None:
    """Twenty messages, three at a time, values by index."""
    workers, boss = Workers(), Agent("boss")

    @boss.handles
    async def work(message: N, ctx: Context) -> Tally:
        found = await fan_out(ctx, workers.double, [N(n=n) for n in range(message.n)], at_most=3)
        assert found.is_complete
        return Tally(values={index: value.n for index, value in found.values.items()})

    async with memory_system(System("s", agents=[boss, workers.agent])) as client:
        tally = await (await client.submit(work, N(n=20))).result(timeout_s=60)
    assert tally.values == {n: n * 2 for n in range(20)}
    assert workers.most == 3


async def test_errors_are_given_by_index_and_stop_nobody() -> None:
    """One refuses; the others' values are there."""
    workers, boss = Workers(), Agent("boss")

    @boss.handles
    async def work(message: N, ctx: Context) -> Tally:
        found = await fan_out(ctx, workers.double, [N(n=1), N(n=99), N(n=3)])
        assert not found.is_complete
        return Tally(
            values={index: value.n for index, value in found.values.items()},
            errors={index: f"{type(error).__name__}: {error}" for index, error in found.errors.items()},
            unfinished=found.unfinished,
        )

    async with memory_system(System("s", agents=[boss, workers.agent])) as client:
        tally = await (await client.submit(work, N(n=0))).result(timeout_s=60)
    assert tally == Tally(values={0: 2, 2: 6}, errors={1: "ConfigurationError: 99 is refused"})


async def test_a_quorum_is_enough_and_another_attempt_leaves_alike() -> None:
    """Those that had not ended stay unfinished, although they could be awaited anew."""
    workers, boss = Workers(), Agent("boss", first_retry_s=0.01)
    seen: list[Tally] = []

    @boss.handles
    async def work(message: N, ctx: Context) -> Tally:
        found = await fan_out(ctx, workers.double, [N(n=-1), N(n=2), N(n=-3), N(n=4)], quorum=2)
        seen.append(Tally(values={i: v.n for i, v in found.values.items()}, unfinished=found.unfinished))
        if ctx.attempt == 1:
            raise RuntimeError("dies here")
        return seen[-1]

    async with memory_system(System("s", agents=[boss, workers.agent])) as client:
        tally = await (await client.submit(work, N(n=0))).result(timeout_s=60)
    assert seen == [tally, tally] == [Tally(values={1: 4, 3: 8}, unfinished=(0, 2))] * 2
    assert sorted(workers.ran) == [-3, -1, 2, 4]


async def test_a_missed_quorum_says_how_far_it_came() -> None:
    """The error has the numbers and the first failure."""
    workers, boss = Workers(), Agent("boss")
    seen: list[QuorumMissed] = []

    @boss.handles
    async def work(message: N, ctx: Context) -> N:
        with pytest.raises(
            QuorumMissed, match=r"1 of 3 calls succeeded, expected 2.*message 0.*99 is refused"
        ) as caught:
            await fan_out(ctx, workers.double, [N(n=99), N(n=2), N(n=-3)], quorum=2, timeout_s=0.2)
        seen.append(caught.value)
        return message

    async with memory_system(System("s", agents=[boss, workers.agent])) as client:
        await (await client.submit(work, N(n=0))).result(timeout_s=60)
    assert seen[0].details == {"succeeded": "1", "quorum": "2", "calls": "3"}


@pytest.mark.parametrize(("policies", "succeeded"), [((), 3), ((ENOUGH,), 2)])
def test_a_policy_may_lower_the_quorum_as_far_as_the_code_says(policies: tuple[Policy, ...], succeeded: int) -> None:
    """Fewer than the quorum are then no error."""

    @virtual_time()
    async def vote() -> None:
        workers, boss = Workers(), Agent("boss")

        @boss.handles
        async def work(message: N, ctx: Context) -> N:
            messages = [N(n=n) for n in (1, 2, 3)]
            found = await fan_out(ctx, workers.double, messages, at_most=1, quorum=3, at_least=2)
            return N(n=len(found.values))

        async with memory_system(System("s", agents=[boss, workers.agent], policies=policies)) as client:
            assert (await (await client.submit(work, N(n=0))).result(timeout_s=60)).n == succeeded

    vote()


@virtual_time()
async def test_a_long_fan_out_is_parked_while_members_wait_for_their_turn() -> None:
    """Two of four at a time sleep for ten minutes each; the boss has no slot meanwhile, and begins nothing twice."""
    boss, sleeper = Agent("boss", slots=1), Agent("sleeper")
    began: list[int] = []

    @sleeper.handles
    async def nap(message: N, ctx: Context) -> N:
        async def note(key: str) -> None:
            began.append(message.n)

        await ctx.run("note", note)
        await ctx.sleep("10m")
        return message

    @boss.handles
    async def work(message: N, ctx: Context) -> Tally:
        found = await fan_out(ctx, nap, [N(n=n) for n in range(4)], at_most=2)
        return Tally(values={index: value.n for index, value in found.values.items()})

    async with memory_system(System("s", agents=[boss, sleeper])) as client:
        task = await client.submit(work, N(n=0))
        await asyncio.sleep(60)
        parking: Parking = client.host.parking
        assert await parking.get(task.id) is not None
        assert sorted(began) == [0, 1]
        assert (await task.result(timeout_s=3000)).values == {n: n for n in range(4)}
    assert sorted(began) == [0, 1, 2, 3]


async def test_a_pipeline_is_done_for_each_message() -> None:
    """Items do not wait for one another between the stages."""
    workers, boss = Workers(), Agent("boss")

    @boss.handles
    async def work(message: N, ctx: Context) -> Tally:
        found = await fan_out(ctx, pipeline(workers.double).then(workers.double), [N(n=1), N(n=2)])
        return Tally(values={index: value.n for index, value in found.values.items()})

    async with memory_system(System("s", agents=[boss, workers.agent])) as client:
        assert (await (await client.submit(work, N(n=0))).result(timeout_s=60)).values == {0: 4, 1: 8}


@pytest.mark.parametrize(
    ("at_most", "quorum", "says"), [(0, None, "at_most is 0"), (1, 3, "expected 1 to 2"), (1, 0, "0")]
)
async def test_numbers_that_cannot_be_are_refused(at_most: int, quorum: int | None, says: str) -> None:
    """Before anything begins, and not to be tried again."""
    workers, boss = Workers(), Agent("boss")

    @boss.handles
    async def work(message: N, ctx: Context) -> N:
        await fan_out(ctx, workers.double, [N(n=1), N(n=2)], at_most=at_most, quorum=quorum)
        return message

    async with memory_system(System("s", agents=[boss, workers.agent])) as client:
        with pytest.raises(ConfigurationError, match=says):
            await (await client.submit(work, N(n=0))).result(timeout_s=60)
    assert workers.ran == []


async def test_nothing_to_do_is_done() -> None:
    """No messages, an empty result."""
    workers, boss = Workers(), Agent("boss")

    @boss.handles
    async def work(message: N, ctx: Context) -> Tally:
        found = await fan_out(ctx, workers.double, [])
        return Tally(unfinished=found.unfinished)

    async with memory_system(System("s", agents=[boss, workers.agent])) as client:
        assert await (await client.submit(work, N(n=0))).result(timeout_s=60) == Tally()
