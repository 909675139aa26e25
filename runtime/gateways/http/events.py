"""Server-sent events: what a task shows, numbered, for readers who may come back."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import structlog
from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from antiphon.runtime.delivery.following import Following
from antiphon.runtime.errors import AntiphonError
from antiphon.runtime.gateways.http.intake import END_ID
from antiphon.runtime.gateways.http.leaving import hung_up
from antiphon.runtime.gateways.http.views import TaskView
from antiphon.runtime.host import Host
from antiphon.schemas.task import Position, TaskResult

HEARTBEAT_S = 15.0  # a comment after so long a silence, because proxies close what is silent
SEND_S = 60.0  # a reader who takes nothing for so long is let go
DONE = "data: [DONE]\n\n"  # how OpenAI's streams end

log = structlog.get_logger(__name__)


def following(host: Host, task: str, after: tuple[int, int] = (0, 0)) -> Following[TaskResult]:
    """The events of a task that is known to be there, and last its outcome."""
    return Following(
        host.bus,
        host.clock,
        host.tenant,
        task,
        begin=_nothing,
        finish=lambda result: result,
        after=Position(*after),
    )


async def task_events(events: Following[TaskResult]) -> AsyncGenerator[str, None]:
    """As server-sent events write them. An id is a place in the stream: attempt and number.

    If the bus is lost they break off without an end, and the reader may come back.
    """
    try:
        async with aclosing(events):
            async for event in events:
                if isinstance(event, TaskResult):
                    yield encode(END_ID, "end", TaskView.of_result(event).model_dump_json())
                else:
                    attempt, n = events.position
                    yield encode(f"{attempt}.{n}", event.kind, event.model_dump_json(exclude={"kind"}))
    except AntiphonError as error:
        log.warning("events_broke_off", task=events.task, error=error.message)


def encode(id: str, name: str, data: str) -> str:
    """One event; JSON on one line needs no escaping."""
    return f"id: {id}\nevent: {name}\ndata: {data}\n\n"


def data_event(value: object) -> str:
    """One event of OpenAI's streams, which have no names and no ids."""
    return f"data: {to_json(value).decode()}\n\n"


class EventStream(Response):
    """Events until they end, ``closing`` is set, or the reader hangs up, which ``left`` is told."""

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[str, None],
        closing: asyncio.Event,
        left: Callable[[], Awaitable[object]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers({"x-accel-buffering": "no", **(headers or {})})  # nginx would keep events back
        self._events = events
        self._closing = closing
        self._left = left
        self._busy = False  # a part is on its way
        self._sent_s = 0.0  # when the last was

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        leaving = asyncio.create_task(hung_up(receive))
        closing = asyncio.create_task(self._closing.wait())
        sending = asyncio.create_task(self._send_all(send))
        try:
            await self._beat_until(send, (sending, leaving, closing))
            gone = leaving.done()
            if not sending.done():
                sending.cancel()
                await asyncio.wait((sending,))
            elif not gone:
                sending.result()
            if not gone:
                await self._part(send, "", more=False)
        except TimeoutError:
            log.warning("event_reader_too_slow", after_s=SEND_S)
            gone = True
        finally:
            for task in (leaving, closing, sending):
                task.cancel()
            await asyncio.gather(leaving, closing, sending, return_exceptions=True)
            await self._events.aclose()
        if gone and self._left is not None:
            await self._left()

    async def _beat_until(self, send: Send, ends: "tuple[asyncio.Task[Any], ...]") -> None:
        """Return when one of ``ends`` is done; while nothing is sent, there is a comment now and then."""
        loop = asyncio.get_running_loop()
        self._sent_s = loop.time()
        left_s = HEARTBEAT_S
        while not (await asyncio.wait(ends, timeout=left_s, return_when=asyncio.FIRST_COMPLETED))[0]:
            if loop.time() - self._sent_s >= HEARTBEAT_S and not self._busy:
                await self._part(send, ": still here\n\n")
            left_s = HEARTBEAT_S if self._busy else self._sent_s + HEARTBEAT_S - loop.time()

    async def _send_all(self, send: Send) -> None:
        async for event in self._events:
            await self._part(send, event)

    async def _part(self, send: Send, text: str, *, more: bool = True) -> None:
        self._busy = True
        async with asyncio.timeout(SEND_S):
            await send({"type": "http.response.body", "body": text.encode(), "more_body": more})
        self._busy = False
        self._sent_s = asyncio.get_running_loop().time()


async def _nothing() -> None:
    return None
