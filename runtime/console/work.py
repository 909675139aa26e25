"""Durable work as people see it: tasks, what they wait for, dead letters, approvals and policies."""

import asyncio

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from antiphon.runtime.client import Client
from antiphon.runtime.console.asking import BadRequest, Nothing, answer, query
from antiphon.runtime.console.refusing import refused
from antiphon.runtime.delivery.letters import Letter, Letters
from antiphon.runtime.delivery.task_status import find_task, task_status
from antiphon.runtime.errors import AntiphonError, InDoubt
from antiphon.runtime.gateways.http.events import EventStream, following, task_events
from antiphon.runtime.gateways.http.intake import last_event
from antiphon.runtime.gateways.http.refusals import Refusal
from antiphon.runtime.gateways.http.views import TaskView
from antiphon.runtime.policies.book import PolicyBook
from antiphon.runtime.policies.kinds import contradicting, rival
from antiphon.runtime.store.query import Cursor, Reader, RunFilter
from antiphon.runtime.store.runs import Run, RunStatus
from antiphon.schemas.approval import Approval, ApprovalState
from antiphon.schemas.message import Value
from antiphon.schemas.parking import ParkedTask
from antiphon.schemas.policy import Policy
from antiphon.schemas.task import ErrorInfo, TaskState

LETTERS = 1_000
_STATES = {
    RunStatus.QUEUED: TaskState.QUEUED,
    RunStatus.RUNNING: TaskState.RUNNING,
    RunStatus.OK: TaskState.SUCCEEDED,
    RunStatus.ERROR: TaskState.FAILED,
    RunStatus.CANCELLED: TaskState.CANCELLED,
}


class TasksQuery(Value):
    """``after`` is the ``next`` of an earlier page."""

    limit: int = Field(default=50, ge=1, le=200)
    after: str | None = Field(default=None, max_length=400)


class LettersQuery(Value):
    """Of one agent, or of all."""

    agent: str | None = Field(default=None, max_length=256)
    limit: int = Field(default=200, ge=1, le=LETTERS)


class ApprovalsQuery(Value):
    """``all``: also those that are answered, while their task goes on."""

    all: bool = False


class TaskRow(Value):
    """The first task of a run, which has the run's id. ``waits``: what a parked one waits for.

    ``letter``: the number of its dead letter; 0: none. ``in_doubt``: it died because nobody knows whether a write of
    it was made.
    """

    task: str
    state: TaskState
    handler: str
    start_unix_ms: float
    duration_ms: float
    waits: tuple[str, ...] = ()
    letter: int = 0
    in_doubt: bool = False


class TasksView(Value):
    """Tasks, the newest first; ``next`` is the cursor of the next page."""

    tasks: tuple[TaskRow, ...]
    next: str | None


class LetterView(Value):
    """A dead letter, without its body."""

    number: int
    agent: str
    task: str | None
    subject: str
    reason: ErrorInfo
    attempts: int
    unix_ms: int
    in_doubt: bool

    @classmethod
    def of(cls, letter: Letter) -> "LetterView":
        """What a person decides by."""
        content = letter.content
        return cls(
            number=letter.number,
            agent=letter.agent,
            task=content.task,
            subject=content.subject,
            reason=content.reason,
            attempts=content.attempts,
            unix_ms=content.unix_ms,
            in_doubt=content.reason.type == InDoubt.__name__,
        )


class LettersView(Value):
    """Dead letters, the newest first."""

    letters: tuple[LetterView, ...]
    truncated: bool


class ApprovalsView(Value):
    """Questions to people, the oldest first."""

    approvals: tuple[Approval, ...]


class PoliciesView(Value):
    """Policies that are stored; those that a system's code gives are not among them.

    ``contradictions``: of pairs that two nodes stored at the same moment, and of which one alone is in force.
    """

    policies: tuple[Policy, ...]
    contradictions: tuple[str, ...]


class WorkDesk:
    """Handlers over a client and a reader. ``closing`` ends the streams that are open."""

    def __init__(self, client: Client, reader: Reader, closing: asyncio.Event) -> None:
        self._host = client.host
        self._reader = reader
        self._closing = closing

    def routes(self) -> list[BaseRoute]:
        """Where each is found."""
        return [
            Route("/api/tasks", self.tasks),
            Route("/api/tasks/{task}", self.task),
            Route("/api/tasks/{task}/events", self.events),
            Route("/api/dead", self.dead),
            Route("/api/approvals", self.approvals),
            Route("/api/policies", self.policies),
        ]

    async def tasks(self, request: Request) -> Response:
        """The first tasks of runs, as far as the record and the bus know them."""
        asked = query(request, TasksQuery)
        try:
            after = None if asked.after is None else Cursor.parse(asked.after)
        except ValueError as error:
            raise BadRequest(400, str(error)) from None
        page = await asyncio.to_thread(
            lambda: self._reader.runs(RunFilter(durable=True), limit=asked.limit, after=after)
        )
        letters, _ = await self._letters(None, LETTERS)
        dead = {letter.task: letter for letter in reversed(letters) if letter.task is not None}
        rows = [await self._row(run, dead.get(run.run)) for run in page.runs]
        return answer(TasksView(tasks=tuple(rows), next=None if page.next is None else str(page.next)))

    async def task(self, request: Request) -> Response:
        """One task, whatever run it is of."""
        query(request, Nothing)
        try:
            found = await task_status(self._host.bus, self._host.tenant, request.path_params["task"])
        except AntiphonError as error:
            raise refused(error) from None
        return answer(TaskView.of(found))

    async def events(self, request: Request) -> Response:
        """What a task shows, as the HTTP door has it."""
        task, host = request.path_params["task"], self._host
        try:
            after = last_event(request)
            await find_task(host.bus, host.tenant, task)
        except Refusal as refusal:
            raise BadRequest(refusal.status, refusal.info.message, refusal.info.type) from None
        except AntiphonError as error:
            raise refused(error) from None
        if after is None:
            return Response(status_code=204)
        return EventStream(task_events(following(host, task, after)), self._closing)

    async def dead(self, request: Request) -> Response:
        """Work that could not be done."""
        asked = query(request, LettersQuery)
        letters, truncated = await self._letters(asked.agent, asked.limit)
        return answer(LettersView(letters=tuple(letters), truncated=truncated))

    async def approvals(self, request: Request) -> Response:
        """What waits for a person."""
        asked = query(request, ApprovalsQuery)
        found = await self._host.approvals.all(None if asked.all else ApprovalState.OPEN)
        return answer(ApprovalsView(approvals=tuple(found)))

    async def policies(self, request: Request) -> Response:
        """What nodes do differently."""
        query(request, Nothing)
        host = self._host
        book = await PolicyBook.open(host.bus, host.directory, host.clock, host.tenant)
        found = await book.entries()
        pairs = ((policy, rival(policy, found[:n])) for n, policy in enumerate(found))
        contradictions = tuple(contradicting(other, policy).message for policy, other in pairs if other is not None)
        return answer(PoliciesView(policies=tuple(found), contradictions=contradictions))

    async def _letters(self, agent: str | None, limit: int) -> tuple[list[LetterView], bool]:
        found: list[LetterView] = []
        try:
            async for letter in Letters(self._host.bus, self._host.tenant).each(agent):
                found.append(LetterView.of(letter))
        except ValueError as error:  # no agent can have this name
            raise BadRequest(400, f"parameter 'agent': {error}") from None
        return found[::-1][:limit], len(found) > limit

    async def _row(self, run: Run, letter: LetterView | None) -> TaskRow:
        state, waits = _STATES[run.entry.status], _waits(None)
        if state in (TaskState.RUNNING, TaskState.QUEUED):
            parked = await self._host.parking.get(run.run)
            state, waits = (TaskState.PARKED, _waits(parked)) if parked is not None else (state, waits)
        if letter is not None and state is TaskState.FAILED:
            state = TaskState.DEAD
        return TaskRow(
            task=run.run,
            state=state,
            handler=run.entry.title,
            start_unix_ms=run.start_ns / 1e6,
            duration_ms=run.duration_ns / 1e6,
            waits=waits,
            letter=0 if letter is None else letter.number,
            in_doubt=letter is not None and letter.in_doubt,
        )


def _waits(parked: ParkedTask | None) -> tuple[str, ...]:
    return () if parked is None else tuple(wait.kind.value for wait in parked.waits)
