"""The JSON API: reads only, every answer a model of ``views``, every mistake of the caller a 4xx."""

import asyncio
import binascii
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pydantic import Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from antiphon.runtime.clock import Clock
from antiphon.runtime.console.feed import LiveFeed
from antiphon.runtime.console.views import (
    DirectoryView,
    FindingsView,
    HealthView,
    RunDetail,
    RunsView,
    SpanView,
    SpendingsView,
    SpendingView,
    TraceView,
)
from antiphon.runtime.store.query import Cursor, Reader, RunFilter
from antiphon.runtime.store.runs import RunStatus
from antiphon.schemas.message import Value
from antiphon.schemas.node import AgentCard, NodeCard

Directory = Callable[[], Awaitable[tuple[list[NodeCard], list[AgentCard]]]]
Q = TypeVar("Q", bound=Value)


class BadRequest(Exception):
    """The caller's mistake: status, and what to do."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class RunsQuery(Value):
    """``after`` is the ``next`` of an earlier page."""

    limit: int = Field(default=50, ge=1, le=200)
    after: str | None = Field(default=None, max_length=400)
    agent: str | None = Field(default=None, max_length=256)
    model: str | None = Field(default=None, max_length=256)
    status: RunStatus | None = None
    obs: bool = False


class RunQuery(Value):
    """How many of the earliest spans to show."""

    spans: int = Field(default=5_000, ge=1, le=50_000)


class FindingsQuery(Value):
    """How many."""

    limit: int = Field(default=200, ge=1, le=1_000)


class SpendingQuery(Value):
    """How far back."""

    window_s: float = Field(default=3_600, gt=0, le=366 * 24 * 3_600)
    obs: bool = False


class Nothing(Value):
    """No parameters."""


class Api:
    """Handlers over a reader, a directory and the live feed. The store is read in threads."""

    def __init__(self, reader: Reader, directory: Directory, live: LiveFeed, clock: Clock) -> None:
        self._reader = reader
        self._directory = directory
        self._live = live
        self._clock = clock

    def routes(self) -> list[BaseRoute]:
        """Where each is found."""
        return [
            Route("/api/runs", self.runs),
            Route("/api/runs/{run}", self.run),
            Route("/api/traces/{trace}", self.trace),
            Route("/api/spans/{span}", self.span),
            Route("/api/findings", self.findings),
            Route("/api/spending", self.spending),
            Route("/api/agents", self.agents),
            Route("/api/health", self.health),
            Route("/api/events", self.events),
        ]

    async def runs(self, request: Request) -> Response:
        """A page of runs."""
        query = _query(request, RunsQuery)
        try:
            after = None if query.after is None else Cursor.parse(query.after)
        except ValueError as error:
            raise BadRequest(400, str(error)) from None
        wanted = RunFilter(agent=query.agent, model=query.model, status=query.status, obs=query.obs)
        return _json(
            await asyncio.to_thread(lambda: RunsView.of(self._reader.runs(wanted, limit=query.limit, after=after)))
        )

    async def run(self, request: Request) -> Response:
        """One run's rows, logs and spending."""
        query = _query(request, RunQuery)
        run = request.path_params["run"]

        def load() -> RunDetail | None:
            record = self._reader.run(run, max_spans=query.spans)
            return None if record is None else RunDetail.of(record)

        found = await asyncio.to_thread(load)
        if found is None:
            raise BadRequest(404, f"no run {run[:80]!r} is stored; it may be older than what is kept")
        return _json(found)

    async def trace(self, request: Request) -> Response:
        """The run that a trace belongs to; evidence of findings names traces."""
        _query(request, Nothing)
        found = await asyncio.to_thread(self._reader.find, request.path_params["trace"], limit=1)
        if not found:
            raise BadRequest(404, "no such trace is stored; it may be older than what is kept")
        return _json(TraceView(run=found[0]))

    async def span(self, request: Request) -> Response:
        """One span whole."""
        _query(request, Nothing)
        trace_id, span_id = _span_ids(request.path_params["span"])
        span = await asyncio.to_thread(self._reader.span, trace_id, span_id)
        if span is None:
            raise BadRequest(404, "no such span is stored")
        return _json(SpanView.of(span))

    async def findings(self, request: Request) -> Response:
        """What the logging agent says."""
        query = _query(request, FindingsQuery)
        return _json(FindingsView(findings=await asyncio.to_thread(lambda: self._reader.findings(limit=query.limit))))

    async def spending(self, request: Request) -> Response:
        """Where time and tokens went."""
        query = _query(request, SpendingQuery)
        since_s = self._clock.unix_ns() / 1e9 - query.window_s
        rows = await asyncio.to_thread(lambda: self._reader.spending(since_s=since_s, obs=query.obs))
        return _json(SpendingsView(window_s=query.window_s, spending=tuple(map(SpendingView.of, rows))))

    async def agents(self, request: Request) -> Response:
        """Who is alive."""
        _query(request, Nothing)
        async with asyncio.timeout(5):
            nodes, agents = await self._directory()
        return _json(DirectoryView(nodes=tuple(nodes), agents=tuple(agents)))

    async def health(self, request: Request) -> Response:
        """How complete the record is."""
        _query(request, Nothing)
        return _json(HealthView.of(await asyncio.to_thread(self._reader.health)))

    async def events(self, request: Request) -> Response:
        """News, from after ``Last-Event-ID`` if it is given."""
        last = request.headers.get("last-event-id", "").strip()
        if last and not (last.isascii() and last.isdigit() and len(last) < 20):
            raise BadRequest(400, f"Last-Event-ID {last[:40]!r}: expected the number of an earlier event")
        return StreamingResponse(self._live.read(int(last) if last else None), media_type="text/event-stream")


def _query(request: Request, form: type[Q]) -> Q:
    try:
        return form.model_validate(dict(request.query_params))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))[:80]
        raise BadRequest(400, f"parameter {name!r}: {first['msg']}") from None


def _span_ids(text: str) -> tuple[bytes, bytes]:
    trace, _, span = text.partition(".")
    try:
        ids = binascii.unhexlify(trace), binascii.unhexlify(span)
    except ValueError:
        ids = b"", b""
    if (len(ids[0]), len(ids[1])) != (16, 8):
        raise BadRequest(400, "span: expected TRACE.SPAN, 32 and 16 hexadecimal digits")
    return ids


def _json(value: Value) -> Response:
    return Response(value.model_dump_json(), media_type="application/json")
