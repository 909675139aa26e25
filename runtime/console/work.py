"""Durable work as people see it: tasks, what they wait for, dead letters, approvals and policies."""

import asyncio
from collections import deque

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from antiphon.runtime.client import Client
from antiphon.runtime.console.asking import BadRequest, Nothing, answer, query
from antiphon.runtime.console.auth import while_in
from antiphon.runtime.console.refusing import refused
from antiphon.runtime.console.task_list import LetterView, TasksQuery, TasksView, row, waiting, wanted
from antiphon.runtime.delivery.letters import Letters
from antiphon.runtime.delivery.task_status import find_task, task_status
from antiphon.runtime.errors import AntiphonError
from antiphon.runtime.gateways.http.events import EventStream, following, task_events
from antiphon.runtime.gateways.http.intake import last_event
from antiphon.runtime.gateways.http.refusals import Refusal
from antiphon.runtime.gateways.http.views import TaskView
from antiphon.runtime.policies.book import PolicyBook
from antiphon.runtime.policies.kinds import contradicting, rival
from antiphon.runtime.store.query import Cursor, Reader
from antiphon.runtime.store.runs import RunStatus
from antiphon.schemas.approval import Approval, ApprovalState
from antiphon.schemas.message import Value
from antiphon.schemas.parking import ParkedTask
from antiphon.schemas.policy import Policy
from antiphon.schemas.task import TaskState

LETTERS = 1_000


class LettersQuery(Value):
    """Of one agent, or of all."""

    agent: str | None = Field(default=None, max_length=256)
    limit: int = Field(default=200, ge=1, le=LETTERS)


class ApprovalsQuery(Value):
    """``all``: also those that are answered, while their task goes on."""

    all: bool = False


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
        """Parked tasks as the bus knows them; else the first tasks of runs, as far as it and the record do."""
        asked = query(request, TasksQuery)
        try:
            after = None if asked.after is None else Cursor.parse(asked.after)
        except ValueError as error:
            raise BadRequest(400, str(error)) from None
        parked: dict[str, ParkedTask] = {}
        dead: dict[str, LetterView] = {}
        if asked.state in (None, TaskState.QUEUED, TaskState.RUNNING, TaskState.PARKED):
            parked = {each.task: each for each in await self._host.parking.all()}
        if asked.state is TaskState.PARKED:
            return answer(waiting(parked.values(), asked.limit, after, self._host.clock.unix_ns() / 1e6))
        if asked.state in (TaskState.FAILED, TaskState.DEAD):
            dead = await self._dead()
        found = wanted(asked.state, parked, dead)
        page = await asyncio.to_thread(lambda: self._reader.runs(found, limit=asked.limit, after=after))
        if asked.state is None and any(run.entry.status is RunStatus.ERROR for run in page.runs):
            dead = await self._dead()
        rows = [row(run, parked.get(run.run), dead.get(run.run)) for run in page.runs]
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
        events = task_events(following(host, task, after))
        return EventStream(while_in(request, events), self._closing)

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
        found: deque[LetterView] = deque(maxlen=limit + 1)  # of however many there are
        try:
            async for letter in Letters(self._host.bus, self._host.tenant).each(agent):
                found.append(LetterView.of(letter))
        except ValueError as error:  # no agent can have this name
            raise BadRequest(400, f"parameter 'agent': {error}") from None
        return list(found)[::-1][:limit], len(found) > limit

    async def _dead(self) -> dict[str, LetterView]:
        """By task, its newest letter."""
        letters, _ = await self._letters(None, LETTERS)
        return {letter.task: letter for letter in reversed(letters) if letter.task is not None}
