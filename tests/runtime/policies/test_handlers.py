"""Policies about a handler's groups and steps."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.runtime.policies.desk import Said, Steps, policy_of

from antiphon import Agent, Client, Context, System, tool
from antiphon.runtime.delivery.parking import Parking
from antiphon.runtime.policies.arms import Arm, arm_of
from antiphon.runtime.policies.book import PolicyBook
from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.testing import memory_cluster, memory_system, virtual_time
from antiphon.schemas.identity import new_id
from antiphon.schemas.policy import Level, Parallelise, Policy, Quorum
from antiphon.schemas.telemetry import SpanRecord, TelemetryBatch

TOGETHER = policy_of(Parallelise(most=2), "editor.edit", finding="f-1")
ENOUGH = policy_of(Quorum(needed=2), "editor.vote")


class Office:
    """``editor.edit`` looks three things up, ``editor.vote`` asks for three opinions; both note what they did."""

    def __init__(self, *, at_least: int | None = 1, quorum: int | None = None) -> None:
        self.runs: Counter[str] = Counter()
        self.running = self.most = 0
        self.found: list[tuple[str, ...]] = []  # by ``edit``, in each of its attempts
        self.spans: list[SpanRecord] = []
        self.between: Any = None  # awaited by the first attempt after its steps, which then fails
        self.client: Client
        self.book: PolicyBook
        editor = Agent("editor", tools=[self._look()], first_retry_s=0.1)
        self.agents = [editor]

        @editor.handles
        async def edit(message: Steps, ctx: Context) -> Said:
            async def look(words: str) -> str:
                return f"{await ctx.tool(editor.tools['look'], words)} {ctx.random.random():.6f}"

            found = await ctx.each(*(look(words) for words in message.steps))
            self.found.append(tuple(found))
            if self.between is not None and ctx.attempt == 1:
                await self.between()
                raise ConnectionError("the first attempt fails")
            return Said(said=tuple(found))

        @editor.handles
        async def vote(message: Steps, ctx: Context) -> Said:
            async with ctx.group(quorum=quorum, at_least=at_least) as group:
                for words in message.steps:
                    group.start(ctx.tool(editor.tools["look"], words))
            return Said(said=tuple(group.values))

        self.edit, self.vote = edit, vote

    @asynccontextmanager
    async def open(self, *policies: Policy) -> AsyncGenerator["Office", None]:
        """The system with these policies by hand."""
        system = System("s", agents=self.agents, policies=policies)
        async with memory_cluster(system, spans=self._keep) as cluster:
            self.client = cluster.client
            host = cluster.client.host
            self.book = await PolicyBook.open(host.bus, host.directory, host.clock, host.tenant)
            yield self

    def attributes(self, name: str) -> list[Any]:
        """What ended spans say of an attribute, where they have it."""
        found = sorted((span for span in self.spans if span.end_ns), key=lambda span: span.start_ns)
        return [span.attributes[name] for span in found if name in span.attributes]

    def _keep(self, batch: TelemetryBatch) -> None:
        self.spans.extend(batch.spans)

    def _look(self) -> Any:
        @tool(effect="read")
        async def look(words: str) -> str:
            """Takes as many seconds as there are letters."""
            self.runs[words] += 1
            self.running += 1
            self.most = max(self.most, self.running)
            try:
                await asyncio.sleep(len(words))
                if words == "bad":
                    raise ValueError(words)
                return words
            finally:
                self.running -= 1

        return look


async def lasting(work: Any) -> Any:
    """What it said and after how many seconds, to be compared."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    return (await work).said, loop.time() - began_s


@virtual_time()
async def test_steps_run_together_where_a_policy_says_so() -> None:
    """Six seconds of steps take four with two at a time; the arm is on the handler's span, with the finding."""
    for policies, took_s, most in (((), 6.0, 1), ((TOGETHER,), 4.0, 2)):
        office = Office()
        async with office.open(*policies) as found:
            said, seconds = await lasting(found.client.ask(found.edit, Steps(steps=("a", "bb", "ccc"))))
        assert [each.split()[0] for each in said] == ["a", "bb", "ccc"]
        assert seconds == pytest.approx(took_s, abs=0.2)
        assert office.most == most
        assert office.attributes(names.POLICY_ARM) == ([["p=treated"]] if policies else [])
        assert office.attributes(names.FINDING_ID) == ([["f-1"]] if policies else [])
        assert office.attributes(names.GROUP_WIDTH) == [most] * 3


@virtual_time()
async def test_runs_of_the_other_arm_and_other_handlers_are_left_alone() -> None:
    """At level canary a run is treated or not, and says which."""
    canary = TOGETHER.model_copy(update={"level": Level.CANARY})
    elsewhere = policy_of(Parallelise(most=2), "editor.vote", id="q")
    office = Office()
    async with office.open(canary, elsewhere) as found:
        for _ in range(8):
            office.most = 0
            await found.client.ask(found.edit, Steps(steps=("a", "b", "c")), labels={"n": new_id()})
            await asyncio.sleep(1.0)
    arms = {str(span.attributes[names.RUN]): span.attributes.get(names.POLICY_ARM) for span in _handlers(office)}
    assert len(arms) == 8
    assert {arm_of(canary, run, 0) for run in arms} == {Arm.TREATED, Arm.CONTROL}
    assert all(arm == [f"p={arm_of(canary, run, 0)}"] for run, arm in arms.items())


@pytest.mark.parametrize("before", [True, False])
def test_a_journal_of_one_arm_is_replayed_in_the_other(before: bool) -> None:
    """The first attempt runs with the policy and the second without, or the other way: nothing is done twice."""

    @virtual_time(seeds=range(3))
    async def switch() -> None:
        office, on = Office(), TOGETHER
        off = on.model_copy(update={"level": Level.SUGGEST})
        async with office.open(on if before else off) as found:

            async def turn() -> None:
                await found.book.set(off if before else on)
                await asyncio.sleep(0.5)

            office.between = turn
            task = await found.client.submit(found.edit, Steps(steps=("a", "bb", "ccc")))
            said = (await task.result(timeout_s=60)).said
        assert office.most == (2 if before else 1)
        assert office.runs == Counter({"a": 1, "bb": 1, "ccc": 1})
        assert [each.split()[0] for each in said] == ["a", "bb", "ccc"]
        assert len({each.split()[1] for each in said}) == 3  # each step's random numbers are its own,
        assert office.found == [said, said]  # and the same in both arms
        assert len(_handlers(office)) == 2
        assert office.attributes(names.POLICY_ARM) == [["p=treated"]]  # of one attempt

    switch()


@pytest.mark.parametrize(("policies", "minutes"), [((), 30), ((policy_of(Parallelise(most=2), "boss.work"),), 20)])
def test_steps_that_wait_park_their_task(policies: tuple[Policy, ...], minutes: int) -> None:
    """Three children of ten minutes each, one or two at a time; the task wakes once for each, and begins none twice."""

    @virtual_time(seeds=range(3))
    async def wait() -> None:
        boss, sleeper, began = Agent("boss", slots=1), Agent("sleeper"), list[str]()
        loop = asyncio.get_running_loop()

        @sleeper.handles
        async def nap(message: Steps, ctx: Context) -> Steps:
            async def note(key: str) -> None:
                began.append(message.steps[0])

            await ctx.run("note", note)
            await ctx.sleep("10m")
            return message

        @boss.handles
        async def work(message: Steps, ctx: Context) -> Said:
            found = await ctx.each(*(ctx.call(nap, Steps(steps=(each,))) for each in message.steps))
            return Said(said=tuple(each.steps[0] for each in found))

        async with memory_system(System("s", agents=[boss, sleeper], policies=policies)) as client:
            began_s = loop.time()
            task = await client.submit(work, Steps(steps=("a", "b", "c")))
            await asyncio.sleep(60)
            parking: Parking = client.host.parking
            assert await parking.get(task.id) is not None
            assert (await task.result(timeout_s=3_000)).said == ("a", "b", "c")
            assert loop.time() - began_s == pytest.approx(minutes * 60, abs=15)
        assert sorted(began) == ["a", "b", "c"]

    wait()


@virtual_time()
async def test_a_group_goes_on_when_a_policy_s_quorum_is_there() -> None:
    """Where the code declares that fewer would do: the third is cancelled, and its span says that nobody waited."""
    for policies, took_s, said in (((), 9.0, ("a", "bb", "c" * 9)), ((ENOUGH,), 2.0, ("a", "bb"))):
        office = Office()
        async with office.open(*policies) as found:
            answer = await lasting(found.client.ask(found.vote, Steps(steps=("a", "bb", "c" * 9))))
        assert answer == (said, pytest.approx(took_s, abs=0.2))
        assert office.attributes(names.RESULT_CONSUMED) == ([False] if policies else [])


@pytest.mark.parametrize(
    ("at_least", "quorum", "needed", "values"),
    [
        (None, None, 1, 3),  # not declared: the policy does nothing
        (2, None, 1, 2),  # never with fewer than declared
        (1, 2, 3, 2),  # never with more than without the policy
        (1, None, 9, 3),  # more than there are: all
    ],
)
def test_the_code_says_how_far_a_quorum_may_go(
    at_least: int | None, quorum: int | None, needed: int, values: int
) -> None:
    """Between ``at_least`` and what the code would wait for."""

    @virtual_time()
    async def vote() -> None:
        office = Office(at_least=at_least, quorum=quorum)
        async with office.open(policy_of(Quorum(needed=needed), "editor.vote")) as found:
            said, _ = await lasting(found.client.ask(found.vote, Steps(steps=("a", "bb", "ccc"))))
        assert len(said) == values

    vote()


@virtual_time()
async def test_a_declaration_that_cannot_be_is_an_error() -> None:
    """With or without a policy."""
    for at_least, quorum in ((0, None), (3, 2)):
        async with Office(at_least=at_least, quorum=quorum).open() as found:
            with pytest.raises(Exception, match="at_least is"):
                await found.client.ask(found.vote, Steps(steps=("a",)))


def _handlers(office: Office) -> list[SpanRecord]:
    return [span for span in office.spans if span.end_ns and names.HANDLER in span.attributes]
