"""``ctx.group``: calls that run together until enough have succeeded."""

import asyncio
import inspect
from collections.abc import Awaitable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from antiphon.runtime.branches import Branches, Joint, letters, settle
from antiphon.schemas.parking import Wait, WaitKind

if TYPE_CHECKING:
    from antiphon.runtime.agent import Handler
    from antiphon.runtime.context import Context
    from antiphon.schemas.message import Message

In = TypeVar("In", bound="Message")
WOKEN_S = 0.25  # for members whose results came while the task was parked, when the time is up at the wake-up


@dataclass(frozen=True, slots=True)
class GroupOutcome:
    """How one member of a group ended: a value, an error, or neither if it was cancelled."""

    path: str
    value: Any = None
    error: BaseException | None = None
    cancelled: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether it returned."""
        return self.error is None and not self.cancelled


class Group:
    """Calls that run together until enough have succeeded. Outcomes are in the order of the calls.

    In durable work the journal keeps which members had ended when the handler left the group, and when its time is
    up, so that another attempt leaves it alike.
    """

    def __init__(
        self,
        ctx: "Context",
        branches: Branches,
        *,
        quorum: int | None,
        at_least: int | None = None,
        timeout_s: float | None,
    ) -> None:
        if quorum is not None and quorum < 1:
            raise ValueError(f"quorum is {quorum}, expected 1 or more")
        self._ctx = ctx
        self._branches = branches
        self._quorum = quorum
        self._path = branches.next_path()
        self._joint = Joint(self._path, quorum or 0, at_least)
        self._run = ctx.task_run
        self._end_s = None if timeout_s is None else ctx.end_s(self._path, timeout_s)
        self._ended = self._run.left(self._path) if self._run is not None else None
        self._members: list[asyncio.Task[Any] | None] = []
        self.outcomes: list[GroupOutcome] = []

    def call(self, handler: "Handler[In, Any]", message: In) -> None:
        """Add a durable child."""
        self.start(self._ctx.call(handler, message))

    def ask(self, handler: "Handler[In, Any]", message: In) -> None:
        """Add a low-latency request."""
        self.start(self._ctx.ask(handler, message))

    def start(self, work: Awaitable[Any]) -> None:
        """Add anything else that ``ctx`` offers."""
        index = len(self._members)
        if self._quorum is None:
            self._joint.needed = index + 1
        if self._ended is not None and index not in self._ended:  # an earlier attempt did not wait for it
            if inspect.iscoroutine(work):
                work.close()
            self._members.append(None)
            return
        self._members.append(self._branches.start(self._joint, index, work))

    @property
    def values(self) -> list[Any]:
        """What the successful members returned, in the order of the calls."""
        return [outcome.value for outcome in self.outcomes if outcome.succeeded]

    async def __aenter__(self) -> "Group":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        started = [member for member in self._members if member is not None]
        left: set[str] = set()
        try:
            if error is None and started:
                async with self._branches.idle(self._wait()):
                    await self._until_enough(started)
        finally:
            self._joint.left = True
            before = set(self._run.children) if self._run is not None else set()
            await settle([member for member in started if not member.done()])
            self.outcomes = [self._outcome(index, member) for index, member in enumerate(self._members)]
            if self._run is not None:
                left = self._run.children - before
        if error is None and self._run is not None:
            ended = [index for index, outcome in enumerate(self.outcomes) if not outcome.cancelled]
            if self._ended is None:
                await self._run.leave(self._path, ended)
            await self._ctx.cancel_children(sorted(left))
            await self._ctx.forget_approvals(tuple(f"{one.path}." for one in self.outcomes if one.cancelled))

    def _wait(self) -> Wait | None:
        if self._end_s is None or self._ended is not None:
            return None
        return Wait(kind=WaitKind.TIME, path=self._path, until_unix_ms=int(self._end_s * 1000))

    async def _until_enough(self, started: list["asyncio.Task[Any]"]) -> None:
        waiting = set(started)
        succeeded = 0
        enough = None if self._ended is not None else self._quorum
        least_s = WOKEN_S if self._run is not None and self._run.journal.history.number else 0.0
        while waiting and (enough is None or succeeded < enough):
            left_s = None
            if self._end_s is not None and self._ended is None:
                left_s = max(least_s, self._end_s - self._ctx.clock_s())
            done, waiting = await asyncio.wait(waiting, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                return
            succeeded += sum(1 for task in done if not task.cancelled() and task.exception() is None)

    def _outcome(self, index: int, member: "asyncio.Task[Any] | None") -> GroupOutcome:
        path = f"{self._path}.{letters(index)}"
        if member is None or member.cancelled():
            return GroupOutcome(path, cancelled=True)
        error = member.exception()
        return GroupOutcome(path, error=error) if error else GroupOutcome(path, value=member.result())
