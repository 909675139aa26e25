"""Agents and tasks as resources: ask, submit, follow, look, cancel."""

import asyncio
from functools import partial

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from antiphon.runtime.agent import Handler
from antiphon.runtime.client import Client, TaskHandle
from antiphon.runtime.delivery.task_status import find_task, task_status
from antiphon.runtime.described import Described, message_of
from antiphon.runtime.errors import BusError, NotDurable, UnknownAgent
from antiphon.runtime.gateways.http.callers import caller_of
from antiphon.runtime.gateways.http.events import EventStream, following, task_events
from antiphon.runtime.gateways.http.intake import (
    ASK_S,
    LONGEST_S,
    TASK_S,
    idempotency_key,
    last_event,
    read_json,
    timeout_s,
    wants_events,
)
from antiphon.runtime.gateways.http.leaving import while_there
from antiphon.runtime.gateways.http.refusals import Refusal
from antiphon.runtime.gateways.http.views import Submitted, TaskView
from antiphon.schemas.identity import Address, InvalidName
from antiphon.schemas.message import Message, Value
from antiphon.schemas.node import HandlerCard

log = structlog.get_logger(__name__)


class Work:
    """Endpoints over a client. ``closing`` ends the streams that are open."""

    def __init__(self, client: Client, described: Described, closing: asyncio.Event) -> None:
        self._client = client
        self._described = described
        self._closing = closing

    def routes(self) -> list[BaseRoute]:
        """Where each is found."""
        return [
            Route("/v1/agents/{agent}/{handler}", self.ask, methods=["POST"]),
            Route("/v1/agents/{agent}/{handler}/tasks", self.submit, methods=["POST"]),
            Route("/v1/tasks/{task}", self.task, methods=["GET"]),
            Route("/v1/tasks/{task}", self.cancel, methods=["DELETE"]),
            Route("/v1/tasks/{task}/events", self.events, methods=["GET"]),
        ]

    async def ask(self, request: Request) -> Response:
        """The reply; or, for whoever accepts events, a task that lives as long as its reader listens."""
        card, handler = await self._handler(request)
        if wants_events(request):
            return await self._stream(request, card, handler)
        if card.keyed:
            raise NotDurable(
                f"{handler.address} is keyed, its messages run one at a time and in order: submit the work "
                f"(POST {request.url.path}/tasks), or accept text/event-stream",
                handler=str(handler.address),
            )
        limit_s = timeout_s(request, default_s=ASK_S, most_s=LONGEST_S) or ASK_S
        message = await self._message(request, card, handler)
        asking = self._client.ask(handler, message, timeout_s=limit_s, labels=labels(request))
        try:
            reply = await while_there(request, asking)
        except UnknownAgent as error:  # the directory knows it, so it is not the caller who is wrong
            raise Refusal(503, "UnknownAgent", error.message) from None
        return _json(reply)

    async def submit(self, request: Request) -> Response:
        """Durable work: 202, and where to look."""
        card, handler = await self._handler(request)
        key = idempotency_key(request)
        limit_s = timeout_s(request, default_s=None, most_s=TASK_S)
        message = await self._message(request, card, handler)
        task = await self._client.submit(
            handler,
            message,
            idempotency_key=None if key is None else self._private(caller_of(request), key),
            timeout_s=limit_s,
            labels=labels(request),
        )
        return _json(Submitted(task=task.id, run=task.run), status=202, headers=_location(task))

    async def task(self, request: Request) -> Response:
        """How a task is doing."""
        return _json(await self._view(request.path_params["task"]))

    async def cancel(self, request: Request) -> Response:
        """Stop a task; what is said is how it ended, which may be how it had ended before."""
        task = request.path_params["task"]
        await self._client.cancel(task)
        return _json(await self._view(task))

    async def events(self, request: Request) -> Response:
        """What a task shows, from the beginning or from after ``Last-Event-ID``; 204 for who has seen its end."""
        task, host = request.path_params["task"], self._client.host
        after = last_event(request)
        await find_task(host.bus, host.tenant, task)
        if after is None:
            return Response(status_code=204)
        return EventStream(task_events(following(host, task, after)), self._closing)

    async def _stream(self, request: Request, card: HandlerCard, handler: Handler[Message, Message]) -> Response:
        limit_s = timeout_s(request, default_s=LONGEST_S, most_s=LONGEST_S)
        message = await self._message(request, card, handler)
        task = await self._client.submit(handler, message, timeout_s=limit_s, labels=labels(request))
        return EventStream(
            task_events(following(self._client.host, task.id)),
            self._closing,
            left=partial(stop, task),
            headers=_location(task),
        )

    async def _handler(self, request: Request) -> tuple[HandlerCard, Handler[Message, Message]]:
        try:
            address = Address(request.path_params["agent"], request.path_params["handler"])
        except InvalidName as error:
            raise Refusal(404, "UnknownAgent", str(error)) from None
        return await self._described.find(address)

    async def _message(self, request: Request, card: HandlerCard, handler: Handler[Message, Message]) -> Message:
        body = await read_json(request, self._client.host.max_body)
        return message_of(card, handler, body)

    async def _view(self, task: str) -> TaskView:
        host = self._client.host
        return TaskView.of(await task_status(host.bus, host.tenant, task))

    def _private(self, caller: str, key: str) -> str:
        """A key that is the caller's own, and from which nobody can work out the task's id who has not been told."""
        return f"{caller} {key} {self._client.host.content_hash(f'{caller} {key}'.encode())}"


async def stop(task: TaskHandle[Message]) -> None:
    """Cancel a task whose reader has gone."""
    try:
        if await task.cancel():
            log.info("task_left_by_its_reader", task=task.id)
    except BusError as error:
        log.warning("task_not_cancelled", task=task.id, error=error.message)


def labels(request: Request) -> dict[str, str]:
    """What the run carries with it, and its trace shows."""
    return {"caller": caller_of(request)}


def _location(task: TaskHandle[Message]) -> dict[str, str]:
    return {"location": f"/v1/tasks/{task.id}"}


def _json(value: Value, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(value.model_dump_json(), status, headers, "application/json")
