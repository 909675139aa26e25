"""The agent on a bus: findings go out, people and the ladder apply them, and a restart goes on where it was."""

import asyncio
import dataclasses
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from structlog.testing import capture_logs

from antiphon.agents.logging_agent.agent import Watcher, apply, dismiss, logging_agent, watch
from antiphon.agents.logging_agent.detectors import catalogue
from antiphon.agents.logging_agent.detectors.p3_concurrent_duplicates import ConcurrentDuplicates
from antiphon.runtime.agent import Agent
from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.bus.topology import ensure_streams
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.directory import Directory
from antiphon.runtime.errors import BusUnavailable, ConfigurationError, UnknownAgent
from antiphon.runtime.finding_log import FindingLog
from antiphon.runtime.memory_cluster import MemoryCluster, memory_cluster
from antiphon.runtime.policies.arms import Arm, arm_of
from antiphon.runtime.policies.book import PolicyBook
from antiphon.runtime.score_log import ScoreLog
from antiphon.runtime.settings import Settings
from antiphon.runtime.system import System
from antiphon.runtime.telemetry.codec import encode
from antiphon.runtime.telemetry.hashing import ContentHash
from antiphon.runtime.tool import tool
from antiphon.runtime.virtual_time import VirtualLoop, run_virtual
from antiphon.schemas import subjects
from antiphon.schemas.finding import Finding, FindingState
from antiphon.schemas.finding_request import ApplyFinding, DismissFinding
from antiphon.schemas.policy import Level, Policy
from antiphon.schemas.telemetry import TelemetryBatch

if TYPE_CHECKING:
    from antiphon.runtime.whatif.testing import Traced

DUPLICATES = "p3"
S = 1_000_000_000


@tool(effect="pure")
async def look(word: str) -> str:
    """What the traces say was called twice."""
    return word


class Seen:
    """A system that is watched: traces go in as nodes publish them, and what is said of them comes out."""

    def __init__(self, cluster: MemoryCluster, bus: MemoryBus, traced: "type[Traced]") -> None:
        self.cluster = cluster
        self.bus = bus
        self._traced = traced
        self._said = FindingLog(bus.streams, "default")

    async def runs(
        self, first: int, count: int, policy: Policy | None = None, *, slower: float = 0.0, mended: bool = False
    ) -> None:
        """``count`` runs that look the same up twice at once, unless the policy treats them or the code is mended."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        for number in range(first, first + count):
            trace = self._traced(number)
            trace.at_ns = loop.clock.unix_ns()
            arm = Arm.OFF if policy is None else arm_of(policy, trace.run, trace.at_ns // 1_000_000)
            shared = arm is Arm.TREATED
            end = (400 if shared else 700) + number % 17 + slower * shared
            root = trace.ask(None, "planner.plan", 0, end + 100)
            said = None if arm is Arm.OFF or policy is None else [f"{policy.id}={arm}"]
            for start, stop in ((100, 400), (200, end))[: 1 if mended else 2]:
                equal = True if arm is Arm.SHADOW else None
                trace.tool(
                    root, "look", start, stop, causes=[], effect="pure", content="c",
                    antiphon__experiment__arm=said, antiphon__shadow__equal=equal,
                )  # fmt: skip
            batch = TelemetryBatch(node="n1", sequence=number, spans=trace.spans)
            await self.bus.streams.append(subjects.telemetry("default", "n1"), encode(batch))
            await asyncio.sleep(1.0)

    async def last(self, pattern: str = DUPLICATES) -> Finding:
        """The last word on the one finding of the pattern."""
        found = [finding for finding in (await self._said.all()).values() if finding.pattern == pattern]
        assert len(found) == 1, found
        return found[0]

    async def policies(self) -> list[Policy]:
        """What is stored."""
        host = self.cluster.client.host
        return await (await PolicyBook.open(self.bus, host.directory, host.clock, "default")).entries()


Play = Callable[[Seen], Awaitable[None]]
Stage = Callable[..., None]


@pytest.fixture
def stage(traced: "type[Traced]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """``stage(play, apply="suggest")``: the play with a logging agent that knows one pattern, in virtual time."""
    monkeypatch.setattr(catalogue, "make", lambda rng: [ConcurrentDuplicates(rng)])

    def run(play: Play, **settings: str) -> None:
        async def main() -> None:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            server = MemoryServer(clock=loop.clock)
            system = System("watched", [logging_agent, Agent("planner", tools=[look])])
            chosen = Settings(home=tmp_path, trace=0.0, **settings)  # type: ignore[arg-type]  # by name
            async with memory_cluster(system, settings=chosen, server=server) as cluster:
                bus = MemoryBus(server)
                await play(Seen(cluster, bus, traced))
                await bus.close()

        run_virtual(main())

    return run


def test_by_default_findings_are_said_and_nothing_is_applied(stage: Stage) -> None:
    """A candidate at first, open at the fifth run, and no policy however often it is seen."""

    async def play(seen: Seen) -> None:
        await seen.runs(1, 3)
        await asyncio.sleep(5)
        assert ((await seen.last()).state, (await seen.last()).support) == (FindingState.CANDIDATE, 3)
        await seen.runs(4, 30)
        await asyncio.sleep(5)
        found = await seen.last()
        assert found.state is FindingState.OPEN
        assert found.saving is not None and found.saving.latency_s is not None
        assert await seen.policies() == []

    stage(play)


def test_where_the_user_says_on_a_proven_remedy_goes_all_the_way(stage: Stage) -> None:
    """Shadow, canary of few runs, of half, verified and on, measured against what was predicted; no hand touches it."""

    async def play(seen: Seen) -> None:
        await seen.runs(1, 8)
        await asyncio.sleep(5)
        (policy,) = await seen.policies()
        assert (policy.level, (await seen.last()).state) == (Level.SHADOW, FindingState.SHADOW)
        await seen.runs(100, 40, policy)
        await asyncio.sleep(5)
        (policy,) = await seen.policies()
        assert (policy.level, (await seen.last()).state) == (Level.CANARY, FindingState.CANARY)
        assert policy.share == 0.05
        await seen.runs(200, 600, policy)
        await asyncio.sleep(5)
        (policy,) = await seen.policies()
        assert (policy.level, policy.share) == (Level.CANARY, 0.5)
        await seen.runs(1_000, 80, policy)
        await asyncio.sleep(5)
        found = await seen.last()
        (policy,) = await seen.policies()
        assert (policy.level, found.state) == (Level.ON, FindingState.VERIFIED)
        assert found.realised is not None and found.realised.saving.latency_s is not None
        assert found.realised.saving.latency_s.point == pytest.approx(0.3, abs=0.02)
        assert found.realised.prediction_error == pytest.approx(0, abs=0.1)

    stage(play, apply="on")


def test_a_remedy_that_a_person_applied_is_taken_back_when_it_harms(stage: Stage) -> None:
    """By hand to canary; treated runs take a second longer; refuted, and the policy is gone."""

    async def play(seen: Seen) -> None:
        await seen.runs(1, 8)
        await asyncio.sleep(5)
        wish = ApplyFinding(finding=(await seen.last()).id[:6], level=Level.CANARY, by="ada")
        found = await seen.cluster.client.ask(apply, wish)
        assert (found.state, found.note) == (FindingState.CANARY, "applied by ada at level canary")
        (policy,) = await seen.policies()
        await seen.runs(100, 80, policy, slower=1_000)
        await asyncio.sleep(5)
        found = await seen.last()
        assert found.state is FindingState.REFUTED
        assert "mean latency gets worse" in found.note
        assert await seen.policies() == []

    stage(play)


def test_a_canary_that_makes_results_worse_is_taken_back_by_the_scores_that_people_give(stage: Stage) -> None:
    """Its runs are faster; each is scored when it has ended, a third lower where it was treated."""

    async def play(seen: Seen) -> None:
        await seen.runs(1, 8)
        await asyncio.sleep(5)
        await seen.cluster.client.ask(apply, ApplyFinding(finding=(await seen.last()).id, level=Level.CANARY))
        (policy,) = await seen.policies()
        await asyncio.sleep(5)
        for number in range(100, 180):
            await seen.runs(number, 1, policy)
            treated = arm_of(policy, f"run{number}", 0) is Arm.TREATED
            await seen.cluster.client.score(f"run{number}", "helpful", (0.6 if treated else 0.9) + number % 7 / 100)
        await asyncio.sleep(5)
        found = await seen.last()
        assert found.state is FindingState.REFUTED
        assert "the score helpful gets worse" in found.note
        assert await seen.policies() == []

    stage(play)


def test_a_dismissed_finding_is_not_said_again_before_its_time(stage: Stage) -> None:
    """Nor applied by itself, though the user lets proven ones go on."""

    async def play(seen: Seen) -> None:
        await seen.runs(1, 8)
        await asyncio.sleep(5)
        no = DismissFinding(finding=(await seen.last()).id, reason="we want both", by="ada")
        found = await seen.cluster.client.ask(dismiss, no)
        assert (found.state, found.note) == (FindingState.DISMISSED, "dismissed by ada: we want both")
        await seen.runs(100, 30)
        await asyncio.sleep(5)
        assert (await seen.last()).state is FindingState.DISMISSED
        assert await seen.policies() == []

    stage(play, apply="on")


def test_a_finding_whose_code_was_mended_is_gone_until_it_is_seen_again(stage: Stage) -> None:
    """After a hundred runs without it, though they have another shape; it cannot be applied meanwhile."""

    async def play(seen: Seen) -> None:
        await seen.runs(1, 8)
        await asyncio.sleep(5)
        assert (await seen.last()).state is FindingState.OPEN
        await seen.runs(100, 99, mended=True)
        await asyncio.sleep(5)
        assert (await seen.last()).state is FindingState.OPEN
        await seen.runs(200, 1, mended=True)
        await asyncio.sleep(5)
        gone = await seen.last()
        assert (gone.state, gone.note) == (FindingState.GONE, "not seen in the last 100 runs of planner.plan")
        for level in (Level.CANARY, Level.SUGGEST):
            with pytest.raises(ConfigurationError, match="gone"):
                await seen.cluster.client.ask(apply, ApplyFinding(finding=gone.id, level=level))
        await seen.cluster.kill("node-0")
        await seen.cluster.start("node-0")  # and reads the eight again
        await asyncio.sleep(60)
        await seen.runs(300, 4)
        await asyncio.sleep(5)
        assert (await seen.last()).state is FindingState.GONE
        await seen.runs(304, 1)
        await asyncio.sleep(5)
        assert ((await seen.last()).state, (await seen.last()).note) == (FindingState.OPEN, "")

    stage(play)


def test_taking_back_and_what_cannot_be_applied(stage: Stage) -> None:
    """A person's suggest removes the policy; a candidate, an unknown id and a second experiment are refused."""

    async def play(seen: Seen) -> None:
        client = seen.cluster.client
        await seen.runs(1, 3)
        await asyncio.sleep(5)
        id = (await seen.last()).id
        for wish, why in (
            (ApplyFinding(finding=id), "has been seen in 3 of the 5 runs that it takes"),
            (ApplyFinding(finding="zz"), "no finding begins with 'zz'"),
        ):
            with pytest.raises(ConfigurationError, match=why):
                await client.ask(apply, wish)
        await seen.runs(4, 5)
        await asyncio.sleep(5)
        await client.ask(apply, ApplyFinding(finding=id, level=Level.ON, by="ada"))
        assert (await seen.last()).state is FindingState.APPLIED
        await asyncio.sleep(30)
        assert [policy.level for policy in await seen.policies()] == [Level.ON]
        back = await client.ask(apply, ApplyFinding(finding=id, level=Level.SUGGEST, by="ada"))
        assert (back.state, back.note) == (FindingState.DISMISSED, "taken back by ada")
        await asyncio.sleep(30)
        assert await seen.policies() == []
        with pytest.raises(ConfigurationError, match="is dismissed and its remedy is not applied"):
            await client.ask(apply, ApplyFinding(finding=id, level=Level.SUGGEST))

    stage(play)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restart_goes_on_with_the_support_it_had(stage: Stage, how: str) -> None:
    """Three of five runs were seen; the fifth opens the finding, and none was counted twice."""

    async def play(seen: Seen) -> None:
        await seen.runs(1, 3)
        await asyncio.sleep(5)
        assert (await seen.last()).support == 3
        await getattr(seen.cluster, how)("node-0")
        await seen.runs(4, 1)
        await seen.cluster.start("node-0")
        await asyncio.sleep(60)  # longer than leases that were held when it died
        assert ((await seen.last()).state, (await seen.last()).support) == (FindingState.CANDIDATE, 4)
        await seen.runs(5, 1)
        await asyncio.sleep(60)
        assert ((await seen.last()).state, (await seen.last()).support) == (FindingState.OPEN, 5)

    stage(play)


def test_a_restart_goes_on_with_an_experiment(stage: Stage) -> None:
    """Runs from before count: no arm is measured anew, and the verdict comes as if nothing had been."""

    async def play(seen: Seen) -> None:
        await seen.runs(1, 8)
        await asyncio.sleep(5)
        await seen.cluster.client.ask(apply, ApplyFinding(finding=(await seen.last()).id))
        (policy,) = await seen.policies()
        await seen.runs(100, 36, policy)
        await seen.cluster.kill("node-0")
        await seen.cluster.start("node-0")
        await seen.runs(200, 30, policy)
        await asyncio.sleep(5)
        found = await seen.last()
        assert found.state is FindingState.VERIFIED
        assert found.realised is not None
        assert sum(found.realised.runs) > 36

    stage(play)


def test_the_agent_observes_and_each_node_has_its_own_watcher() -> None:
    """Its spans are marked as its own, and the tap makes a new watcher each time."""
    assert logging_agent.observes
    assert len(logging_agent.taps) == 1
    assert watch() is not watch()


class Unsteady(FindingLog):
    """A log on a bus that fails the first ``failures`` reports."""

    failures = 0

    async def append(self, finding: Finding) -> None:
        """Fail, or report."""
        if self.failures:
            self.failures -= 1
            raise BusUnavailable("no server; start one")
        await super().append(finding)


class Refusing(PolicyBook):
    """A book that takes no policy: what it is about has gone."""

    async def set(self, policy: Policy) -> Policy:
        """Refuse."""
        raise UnknownAgent("no agent 'planner' (known: none yet)", agent="planner")


async def watched(traced: "type[Traced]", monkeypatch: pytest.MonkeyPatch, book: type[PolicyBook]) -> "Shell":
    """A watcher that may go all the way, with eight runs seen."""
    monkeypatch.setattr(catalogue, "make", lambda rng: [ConcurrentDuplicates(rng)])
    bus = MemoryBus(MemoryServer())
    await ensure_streams(bus)
    directory = await Directory.open(bus, "default")
    await directory.register(Agent("planner", tools=[look]).card())
    said = Unsteady(bus.streams, "default")
    shelf = await book.open(bus, directory, SystemClock(), "default")
    watcher = Watcher(said, shelf, ScoreLog(bus, "default"), allowed=Level.ON, content_hash=ContentHash("k"))
    for number in range(1, 9):
        trace = traced(number)
        root = trace.ask(None, "planner.plan", 0, 800)
        for start, stop in ((100, 400), (200, 700)):
            trace.tool(root, "look", start, stop, causes=[], effect="pure", content="c")
        watcher.feed(TelemetryBatch(node="n1", sequence=number, spans=trace.spans), 0)
    return Shell(watcher, said, shelf)


class Shell(NamedTuple):
    """A watcher with what it writes to."""

    watcher: Watcher
    said: Unsteady
    book: PolicyBook


async def test_a_bus_that_fails_in_the_middle_leaves_nothing_half_done(
    traced: "type[Traced]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy is stored and the word on it is not: the next round says it, and does nothing twice."""
    watcher, said, book = await watched(traced, monkeypatch, PolicyBook)
    await watcher.act(3 * S, decides=True)
    said.failures = 2
    for _ in range(2):
        with pytest.raises(BusUnavailable):
            await watcher.act(4 * S, decides=True)
    (policy,) = await book.entries()
    (before,) = (await said.all()).values()
    assert (policy.level, before.state) == (Level.SHADOW, FindingState.OPEN)
    await watcher.act(5 * S, decides=True)
    (after,) = (await said.all()).values()
    assert after.state is FindingState.SHADOW
    assert await book.entries() == [policy]


async def test_a_remedy_whose_agent_has_gone_is_refused_with_a_line_in_the_log(
    traced: "type[Traced]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a minute, not once a second; the finding stays open."""
    watcher, said, _ = await watched(traced, monkeypatch, Refusing)
    with capture_logs() as lines:
        for second in range(3, 70):
            await watcher.act(second * S, decides=True)
    assert [line["event"] for line in lines] == ["remedy_refused"] * 2
    (finding,) = (await said.all()).values()
    assert finding.state is FindingState.OPEN


async def test_of_replicas_only_one_decides(traced: "type[Traced]", monkeypatch: pytest.MonkeyPatch) -> None:
    """The others say what they found."""
    watcher, said, book = await watched(traced, monkeypatch, PolicyBook)
    for second in range(3, 10):
        await watcher.act(second * S, decides=False)
    (finding,) = (await said.all()).values()
    assert finding.state is FindingState.OPEN
    assert await book.entries() == []


@pytest.mark.parametrize(("rate", "missed"), [(2_900, []), (6_000, ["telemetry_missed"])])
async def test_what_fits_the_budget_is_analysed_and_the_rest_is_said(
    traced: "type[Traced]", monkeypatch: pytest.MonkeyPatch, rate: int, missed: list[str]
) -> None:
    """Just below it no trace is dropped, though a look each second closes more than a part; above it a line says so."""
    monkeypatch.setattr(catalogue, "make", lambda rng: [])
    bus = MemoryBus(MemoryServer())
    await ensure_streams(bus)
    directory = await Directory.open(bus, "default")
    book = await PolicyBook.open(bus, directory, SystemClock(), "default")
    said, scores = FindingLog(bus.streams, "default"), ScoreLog(bus, "default")
    watcher = Watcher(said, book, scores, allowed=Level.SUGGEST, content_hash=ContentHash("k"))
    one = traced(1)
    span = one.add(None, "execute_tool look", 0, 10, antiphon__operation="tool")
    rng = random.Random(1)
    with capture_logs() as lines:
        for second in range(1_000, 1_012):
            spans = [dataclasses.replace(span, trace_id=rng.randbytes(16)) for _ in range(rate)]
            watcher.feed(TelemetryBatch(node="n1", sequence=second, spans=spans), second * S)
            await watcher.look(second * S)
    assert [line["event"] for line in lines] == missed
