"""Chaos: ten thousand tasks while nodes and servers are killed; every task ends once, every write happens once.

Three node processes do the work of ``havoc/agents.py`` (fan-out, a scripted model with delays, writes, sleeps,
approvals, streams, events, cancels), and all the time one process or another is killed with SIGKILL and started again:
a node every few seconds, the server in between, with ``--cluster`` the server of three that leads the stream of tasks.
``--seed`` repeats the plan of kills; what they hit depends on the machine.

Writes go to two SQLite files: one honours idempotency keys, the other ignores them, so that every interrupted write
there must surface as InDoubt. Afterwards the streams, the journals, the two ledgers, a diary of who began what, the
recorded spans and the nodes' logs are held against each other. The last line is one JSON object; ``havoc/verdict.py``
and ``havoc/spans.py`` say what each count means. ``resume_p95_s`` is from the kill of a node to the first sign of life
of each task that it held. Exit status 1 if something is lost, double, unfinished, orphaned, silently in doubt,
unexpected or in the wrong place of the span tree, or if ``resume_p95_s`` is above 5.
"""

import argparse
import asyncio
import json
import math
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from antiphon import Gap, Handler, Restarted, TaskHandle, Token, connect, remote
from antiphon.runtime.client import Client
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.errors import AlreadyAnswered, BusError, UnknownApproval
from antiphon.runtime.store.query import Reader
from antiphon.runtime.store.retention import Retention
from antiphon.runtime.store.sqlite import Store
from antiphon.runtime.store.writer import StoreWriter
from antiphon.runtime.telemetry.logs import configure_logging
from antiphon.schemas.approval import ApprovalState

sys.path.insert(0, str(Path(__file__).parent))  # make sets PYTHONSAFEPATH, which leaves the script's folder out
from havoc.agents import SAYING, TASKS, Kind, Work, Worked, kind_of
from havoc.fleet import Fleet, Kill, broker
from havoc.ledger import Diary, Ledger
from havoc.logs import complaints
from havoc.plan import Blow, Victim, plan
from havoc.record import Record
from havoc.spans import SpanVerdict, check_spans
from havoc.verdict import Verdict, judge

NODES = 3
OPEN = 256  # tasks without outcome; more are submitted as these end, so that a slow machine is no overloaded one
DOOM_S = 1.0  # from the submit of a doomed root to its cancellation
LISTEN = 4  # every fourth stream is listened to: to find a task by its id costs a look at the whole stream of work
STALLED_S = 120.0  # with no new outcome after the last kill, nobody waits any longer
AWAY_S = 120.0  # how long the bus may be away
RETRY_S = 0.2
POLL_S = 0.5
SETTLE_S = 240.0  # for telemetry to reach the store
RESUME_LIMIT_S = 5.0
MUST_BE_ZERO = ("lost", "double", "missing", "unfinished", "orphans", "silent_doubt", "unexpected")
SPANS_ZERO = ("wrong_parent", "unlinked_redeliveries", "unexplained_unfinished")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole run."""

    verdict: Verdict
    spans: SpanVerdict
    tasks: int
    kills: tuple[Kill, ...]
    torn_streams: int
    complaints: dict[str, int]
    strange: tuple[str, ...]
    wall_s: float

    def figures(self) -> dict[str, float | int | None]:
        """The JSON keys."""
        resumes = sorted(self.verdict.resumes_s)
        p95 = resumes[math.ceil(0.95 * len(resumes)) - 1] if resumes else 0.0
        return {
            "tasks": self.tasks,
            "kills": sum(kill.victim is Victim.NODE for kill in self.kills),
            "server_kills": sum(kill.victim is not Victim.NODE for kill in self.kills),
            **{name: getattr(self.verdict, name) for name in MUST_BE_ZERO},
            "torn_streams": self.torn_streams,
            "in_doubt": self.verdict.in_doubt,
            "resumed": len(resumes),
            "resume_p95_s": round(p95, 2) if math.isfinite(p95) else None,
            "resume_max_s": round(resumes[-1], 2) if resumes and math.isfinite(resumes[-1]) else None,
            "spans": self.spans.spans,
            **{name: getattr(self.spans, name) for name in SPANS_ZERO},
            "lost_parents": self.spans.lost_parents,
            "complaints": len(self.strange),
            "wall_s": round(self.wall_s, 1),
        }

    @property
    def passed(self) -> bool:
        """Whether everything that must be zero is, and work of killed nodes went on in time."""
        figures = self.figures()
        p95 = figures["resume_p95_s"]
        zero = (*MUST_BE_ZERO, *SPANS_ZERO, "torn_streams")
        return not any(figures[name] for name in zero) and p95 is not None and p95 <= RESUME_LIMIT_S


@dataclass(slots=True)
class Drive:
    """Everything that the outside world does meanwhile: submits, cancels, answers, listens."""

    client: Client
    begin: Handler[Work, Worked]
    record: Record
    roots: dict[str, Kind] = field(default_factory=dict)
    torn: list[str] = field(default_factory=list)

    async def submit(self, group: asyncio.TaskGroup, count: int, length_s: float) -> None:
        """``count`` roots, evenly over ``length_s`` or as fast as they end."""
        begun_s = time.monotonic()
        for number in range(count):
            await asyncio.sleep(max(0.0, begun_s + number * length_s / count - time.monotonic()))
            while len(self.record.open | (self.roots.keys() - self.record.ends.keys())) > OPEN:  # noqa: ASYNC110
                await asyncio.sleep(POLL_S / 5)
            task = await persist(
                lambda number=number: self.client.submit(  # type: ignore[misc]  # mypy infers no lambda default
                    self.begin, Work(number=number), idempotency_key=f"chaos-{number}"
                )
            )
            self.roots[task.id] = kind_of(number)
            if kind_of(number) is Kind.DOOMED:
                group.create_task(self._doom(task))
            elif kind_of(number) is Kind.TALK and number % (10 * LISTEN) < 10:
                group.create_task(self._listen(task.id))

    async def answer(self) -> None:
        """Approve whatever is open, until cancelled."""
        approvals = self.client.host.approvals
        while True:
            for approval in await persist(lambda: approvals.all(ApprovalState.OPEN)):
                try:
                    await approvals.answer(approval.id, approved=True, by="chaos")
                except (AlreadyAnswered, UnknownApproval, BusError):
                    continue  # the next round sees what is still open
            await asyncio.sleep(POLL_S)

    async def _doom(self, task: TaskHandle[Worked]) -> None:
        await asyncio.sleep(DOOM_S)
        await persist(task.cancel)

    async def _listen(self, task: str) -> None:
        """Put together what is shown; it must be what the model said, unless a gap was announced."""
        shown: dict[int, str] = {}
        position = (0, 0)

        async def listen() -> bool:
            nonlocal position
            events = self.client.follow(task, self.begin, after=position)
            async for event in events:
                position = events.position
                match event:
                    case Token(text=text):
                        shown[position[1]] = text
                    case Restarted(n=n):
                        for void in [number for number in shown if number > n]:
                            del shown[void]
                    case Gap():
                        await events.aclose()
                        return False
                    case _:
                        pass
            return True

        if await persist(listen):
            text = "".join(shown[n] for n in sorted(shown))
            if text != SAYING:
                self.torn.append(f"{task} showed {text!r}")


async def persist(action: Callable[[], Awaitable[T]]) -> T:
    """Do it again while the bus is away. Raises BusError after AWAY_S."""
    end_s = time.monotonic() + AWAY_S
    while True:
        try:
            return await action()
        except BusError:
            if time.monotonic() > end_s:
                raise
        await asyncio.sleep(RETRY_S)


def roots_for(tasks: int) -> int:
    """How many roots make at least so many tasks."""
    count = made = 0
    while made < tasks:
        made += TASKS[kind_of(count)]
        count += 1
    return count


async def chaos(tasks: int, blows: tuple[Blow, ...], home: Path, *, cluster: bool) -> Report:
    """One run."""
    begun_s = time.monotonic()
    async with AsyncExitStack() as stack:
        carrier = await stack.enter_async_context(broker(home, cluster=cluster))
        folder = home / "chaos"
        folder.mkdir()
        honours = Ledger(folder / "honours.db", honours_keys=True)
        ignores = Ledger(folder / "ignores.db", honours_keys=False)
        diary = Diary(folder / "diary")
        client = await stack.enter_async_context(connect(settings=carrier.settings))
        store = Store.open(carrier.settings.store_path, clock=SystemClock(), retention=Retention())
        stack.callback(store.close)
        writer = StoreWriter(store, client.host.bus.streams, SystemClock())
        writing = asyncio.create_task(writer.run())
        stack.callback(writing.cancel)
        fleet = Fleet(folder, NODES, carrier)
        try:
            await fleet.start()
            record = Record()
            drive = Drive(client, remote("root.begin", Work, Worked), record)
            await _storm(drive, fleet, tasks, blows)
            await persist(lambda: record.complete(client))
        finally:
            statuses = await fleet.stop()
        if any(statuses):
            raise RuntimeError(f"nodes ended with {statuses} when they were told to drain: see {folder}")
        await client.host.telemetry.close()
        if not await writer.settle(SETTLE_S):
            raise RuntimeError(f"telemetry did not reach the store in {SETTLE_S:g} s")
        with closing(Reader.open(carrier.settings.store_path)) as reader:
            spans = check_spans(reader, drive.roots, record, diary.read(), fleet.kills)
        counts, strange = complaints(folder, fleet.kills)
        return Report(
            verdict=judge(record, honours.rows(), ignores.rows(), diary.read(), fleet.kills, drive.roots),
            spans=spans,
            tasks=len(record.tasks),
            kills=tuple(fleet.kills),
            torn_streams=len(drive.torn),
            complaints=dict(counts),
            strange=(*drive.torn, *strange),
            wall_s=time.monotonic() - begun_s,
        )


async def _storm(drive: Drive, fleet: Fleet, tasks: int, blows: tuple[Blow, ...]) -> None:
    """Submit and kill; return when every task has its outcome, or none has come for STALLED_S."""
    record = drive.record
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        ended, hit = shown.add_task("outcomes", total=tasks), shown.add_task("kills", total=len(blows))
        try:
            async with asyncio.TaskGroup() as outside:
                answering = outside.create_task(drive.answer())
                count = roots_for(tasks)
                submitting = outside.create_task(drive.submit(outside, count, blows[-1].at_s if blows else 0.0))
                striking = outside.create_task(_strike(fleet, blows, lambda: shown.advance(hit)))
                last, moved_s = 0, time.monotonic()
                while True:
                    await asyncio.sleep(POLL_S)
                    await persist(lambda: record.advance(drive.client.host.bus))
                    shown.update(ended, completed=len(record.ends), total=max(tasks, len(record.tasks)))
                    if len(record.ends) != last or not (submitting.done() and striking.done()):
                        last, moved_s = len(record.ends), time.monotonic()
                    elif not record.open or time.monotonic() - moved_s > STALLED_S:
                        break
                answering.cancel()
                if record.open:
                    raise _Stalled
        except* _Stalled:
            pass  # the verdict says what is missing; listeners to streams were let go


class _Stalled(Exception):
    """Nothing ends any more."""


async def _strike(fleet: Fleet, blows: tuple[Blow, ...], advance: Callable[[], object]) -> None:
    begun_s = time.monotonic()
    for blow in blows:
        await asyncio.sleep(max(0.0, begun_s + blow.at_s - time.monotonic()))
        await fleet.strike(blow)
        advance()
    await fleet.settled()


def show(report: Report, console: Console) -> None:
    """Tables and what went wrong."""
    table = Table("what", "count", title="chaos")
    for name, value in report.figures().items():
        table.add_row(name, str(value))
    console.print(table)
    if report.complaints:
        table = Table("logged as a warning or worse", "times")
        for event, count in sorted(report.complaints.items()):
            table.add_row(event, str(count))
        console.print(table)
    for line in (*report.verdict.details, *report.spans.details, *report.strange[:20]):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def main() -> int:
    """Run, show, and say whether it passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, help="tasks in all, children included (default 10000, quick 500)")
    parser.add_argument("--kills", type=int, help="kills of nodes (default 24, quick 3)")
    parser.add_argument("--quick", action="store_true", help="a short run")
    parser.add_argument("--cluster", action="store_true", help="three servers; the leader is killed")
    parser.add_argument("--seed", type=int, default=1, help="of the plan of kills")
    parser.add_argument("--keep", type=Path, help="a folder for everything, kept for a look afterwards")
    options = parser.parse_args()
    tasks = options.tasks or (500 if options.quick else 10_000)
    kills = options.kills if options.kills is not None else (3 if options.quick else 24)
    server = Victim.LEADER if options.cluster else Victim.BROKER
    blows = plan(options.seed, kills=kills, nodes=NODES, servers=(server,) * math.ceil(kills / 12))
    console = Console(stderr=True)
    console.print("kills:", ", ".join(f"{b.at_s:.1f} s {b.victim}{b.index or ''}" for b in blows), highlight=False)
    configure_logging("error", clock=SystemClock())
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        home = options.keep or Path(temporary)
        home.mkdir(parents=True, exist_ok=True)
        report = asyncio.run(chaos(tasks, blows, home, cluster=options.cluster))
    show(report, Console(width=160))
    print(json.dumps(report.figures()))
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
