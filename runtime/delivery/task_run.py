"""One attempt of a durable task: its journal, its slot, and what it waits for.

A run whose every branch waits for a person, a time or a child gives its slot back at once. If that lasts it is parked:
stopped, and begun again from its journal when something it waits for has happened.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.history import split
from antiphon.runtime.delivery.journal import Journal
from antiphon.runtime.delivery.open_spans import OpenSpans
from antiphon.runtime.delivery.running import Run
from antiphon.runtime.delivery.slots import Slot
from antiphon.runtime.errors import (
    AntiphonError,
    BusUnavailable,
    ConfigurationError,
    Diverged,
    LeaseLost,
    NodeStopping,
    TaskParked,
)
from antiphon.schemas.journal import Entry, EntryKind
from antiphon.schemas.parking import Wait, WaitKind

if TYPE_CHECKING:
    from antiphon.runtime.branches import Branch, Branches

LINGER_S = 2.0  # most children are done by then; replaying the handler would cost more than waiting here
LEAST_S = 0.05  # a branch that has just ended may be about to let the handler go on
MAX_IDLE = 1024  # runs of one agent that may wait in memory; more are parked at once

_LEAVES_CHILDREN = (TaskParked, NodeStopping, LeaseLost, BusUnavailable)  # the task goes on, here or elsewhere


class TaskRun:
    """What a durable run has that an ask lacks. ``keyed``: it may not let go of its key, so it waits in place."""

    def __init__(self, journal: Journal, slot: Slot, clock: Clock, *, key: str = "", keyed: bool = False) -> None:
        self.journal = journal
        self.key = key
        self.waits: tuple[Wait, ...] = ()  # set when it is parked
        self.children: set[str] = set()  # called, and not waited for any more
        self.approvals: dict[str, str] = {}  # id -> path of those that were asked for
        self.unrepeatable: Exception | None = None  # raised by a write that is never repeated
        parked = journal.history.parked
        # Another attempt, after a crash, is another run in the trace too.
        self.spans = OpenSpans(parked if parked is not None and parked.attempt == journal.attempt else None)
        self._slot = slot
        self._clock = clock
        self._keyed = keyed
        self._run: Run | None = None
        self._branches: Branches | None = None
        self._open: list[Wait] = []
        self._pure: dict[tuple[str, str], str] = {}
        self._reached = journal.history.reached()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, run: Run) -> None:
        """The handler is about to start in the current asyncio task."""
        self._run = run
        self.journal.on_lost = run.stop

    def end(self) -> None:
        """The handler has ended, one way or another."""
        self._disarm()
        self.journal.on_lost = None

    def watch(self, branches: "Branches") -> None:
        """Learn from ``branches`` when all of them wait."""
        self._branches = branches
        branches.pause = self.waiting
        branches.on_ended = self._consider

    @property
    def stopped(self) -> AntiphonError | None:
        """Why the node stopped this run, or None."""
        return self._run.reason if self._run is not None else None

    @property
    def is_parked(self) -> bool:
        """Whether the run was stopped because all of it waits."""
        return isinstance(self.stopped, TaskParked)

    def is_replaying(self, branch: "Branch") -> bool:
        """Whether an earlier attempt had come further in this branch: what it showed here has been shown."""
        return branch.count < self._reached.get(branch.prefix, 0)

    def was_called(self, task: str) -> bool:
        """Whether a child is known to have been stored: the task was parked for it."""
        return task in self.journal.history.waited

    @property
    def leaves_children(self) -> bool:
        """Whether the run was stopped in a way that lets its children go on."""
        return isinstance(self.stopped, _LEAVES_CHILDREN)

    def halt(self, error: AntiphonError) -> AntiphonError:
        """Let nothing more happen in this run: it ends with ``error``, even if the handler swallows it."""
        if self._run is not None and self._run.reason is None:
            self._run.reason = error
        return error

    def find(self, path: str, operation: str, target: str, request: str) -> Entry | None:
        """What an earlier attempt recorded at ``path``, or None if it did not come so far.

        Raises:
            Diverged: it recorded something else.
        """
        entry = self.journal.history.entries.get(path) or self.journal.history.intents.get(path)
        if entry is None:
            return None
        if (entry.operation, entry.target, entry.request) != (operation, target, request):
            raise self._diverged(entry, f"{operation} {target!r} with request {request or 'none'}")
        return entry if entry.kind is not EntryKind.INTENT else None

    def draw(self, path: str, what: str, value: float) -> float:
        """A value that must be the same in every attempt: the recorded one, or ``value``, which is noted.

        Raises:
            Diverged: something else was recorded at ``path``.
        """
        entry = self.find(path, what, "", "")
        if entry is not None:
            return float(entry.value)
        self.journal.note(Entry(kind=EntryKind.DRAW, path=path, operation=what, value=repr(value).encode()))
        return value

    def check_pure(self, tool: str, request: str, result: str) -> None:
        """A pure tool has answered: it must say what it said to the same arguments before, in this attempt.

        Raises:
            ConfigurationError: it does not, so nothing may ever reuse its results.
        """
        if self._pure.setdefault((tool, request), result) != result:
            raise ConfigurationError(
                f"tool {tool!r} is declared pure and gave two results for the same arguments: declare it "
                "effect='read', or 'write' if it changes something"
            )

    def left(self, path: str) -> frozenset[int] | None:
        """Which members of the group at ``path`` had ended when an earlier attempt left it; None: none did."""
        entry = self.find(path, "group", "", "")
        return None if entry is None else frozenset(msgspec.json.decode(entry.value, type=list[int]))

    async def leave(self, path: str, ended: list[int]) -> None:
        """Record which members of a group had ended when the handler left it. Raises LeaseLost, BusError."""
        value = msgspec.json.encode(ended)
        await self.journal.commit(Entry(kind=EntryKind.GROUP, path=path, operation="group", value=value))

    def check_complete(self) -> None:
        """The handler has returned: it must have made as many operations as earlier attempts did.

        Raises:
            Diverged: it made fewer.
        """
        made = self._branches.made if self._branches is not None else 0
        for path, entry in self.journal.history.entries.items():
            if int(split(path)[0]) > made:
                raise self._diverged(entry, "nothing: the handler returned without it")

    def _diverged(self, entry: Entry, found: str) -> AntiphonError:
        owner = self.journal.owner
        return self.halt(
            Diverged(
                f"task {owner.task} diverged at operation {entry.path}: its journal has {entry.operation} "
                f"{entry.target!r} with request {entry.request or 'none'}, this code does {found}; give the agent "
                "another version= when its handlers change, and let them depend on nothing that may differ",
                path=entry.path,
                task=owner.task,
                recorded=f"{entry.operation} {entry.target}",
                found=found,
            )
        )

    @asynccontextmanager
    async def waiting(self, wait: Wait | None) -> AsyncGenerator[None, None]:
        """For the body of the ``with``, the current branch cannot go on; ``wait`` None: its branches decide."""
        branches = self._branches
        assert branches is not None  # only operations of a context wait
        branch = branches.owner()
        branch.blocked = True
        if wait is not None:
            self._open.append(wait)
        self._consider()
        try:
            yield
        finally:
            branch.blocked = False
            if wait is not None:
                self._open.remove(wait)
            self._disarm()
            if self.stopped is None:
                await self._slot.take()

    def _consider(self) -> None:
        """Give the slot back if every branch waits; park if that may last."""
        if self._branches is None or not self._open or not self._branches.all_blocked():
            self._disarm()
            return
        self._slot.give()
        if self._timer is None and not self._keyed:
            self._timer = asyncio.get_running_loop().call_later(self._linger_s(), self._park)

    def _linger_s(self) -> float:
        """How long to stay in memory: not at all where only people and distant times are waited for."""
        is_crowded = self._slot.idle_runs > MAX_IDLE
        now_ms = self._clock.unix_ns() // 1_000_000
        for wait in self._open:
            soon = wait.until_unix_ms is not None and wait.until_unix_ms - now_ms <= LINGER_S * 1000
            # One that is over already would be woken at once: it stays, however many do.
            if soon or (wait.kind is WaitKind.TASK and not is_crowded):
                return LINGER_S
        return LEAST_S

    def _park(self) -> None:
        self._timer = None
        assert self._run is not None  # waits are made by a running handler
        self.waits = tuple(self._open)
        self._run.stop(TaskParked(f"task {self.journal.owner.task} waits without a slot", task=self.journal.owner.task))

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
