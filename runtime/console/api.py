"""Runs, spans, findings and who is alive, as JSON: every answer a model of ``views``, every mistake a 4xx."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from antiphon.runtime.clock import Clock
from antiphon.runtime.console.asking import BadRequest, Nothing, answer, query, span_ids
from antiphon.runtime.console.auth import while_in
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
Amount = Annotated[float | None, Field(ge=0, le=1e12)]
Count = Annotated[int | None, Field(ge=0, lt=2**53)]


class RunsQuery(Value):
    """``after`` is the ``next`` of an earlier page."""

    limit: int = Field(default=50, ge=1, le=200)
    after: str | None = Field(default=None, max_length=400)
    agent: str | None = Field(default=None, max_length=256)
    model: str | None = Field(default=None, max_length=256)
    status: RunStatus | None = None
    obs: bool = False
    text: str | None = Field(default=None, max_length=200)
    min_ms: Amount = None
    max_ms: Amount = None
    min_tokens: Count = None
    max_tokens: Count = None
    min_usd: Amount = None
    max_usd: Amount = None
    finding: str | None = Field(default=None, max_length=128)


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
        asked = query(request, RunsQuery)
        try:
            after = None if asked.after is None else Cursor.parse(asked.after)
        except ValueError as error:
            raise BadRequest(400, str(error)) from None
        wanted = RunFilter(
            agent=asked.agent,
            model=asked.model,
            status=asked.status,
            obs=asked.obs,
            text=asked.text,
            min_s=None if asked.min_ms is None else asked.min_ms / 1000,
            max_s=None if asked.max_ms is None else asked.max_ms / 1000,
            min_tokens=asked.min_tokens,
            max_tokens=asked.max_tokens,
            min_usd=asked.min_usd,
            max_usd=asked.max_usd,
            finding=asked.finding,
        )
        return answer(
            await asyncio.to_thread(lambda: RunsView.of(self._reader.runs(wanted, limit=asked.limit, after=after)))
        )

    async def run(self, request: Request) -> Response:
        """One run's rows, logs and spending."""
        asked = query(request, RunQuery)
        run = request.path_params["run"]

        def load() -> RunDetail | None:
            record = self._reader.run(run, max_spans=asked.spans)
            return None if record is None else RunDetail.of(record)

        found = await asyncio.to_thread(load)
        if found is None:
            raise BadRequest(404, f"no run {run[:80]!r} is stored; it may be older than what is kept")
        return answer(found)

    async def trace(self, request: Request) -> Response:
        """The run that a trace belongs to; evidence of findings names traces."""
        query(request, Nothing)
        found = await asyncio.to_thread(self._reader.find, request.path_params["trace"], limit=1)
        if not found:
            raise BadRequest(404, "no such trace is stored; it may be older than what is kept")
        return answer(TraceView(run=found[0]))

    async def span(self, request: Request) -> Response:
        """One span whole."""
        query(request, Nothing)
        trace_id, span_id = span_ids(request.path_params["span"])
        span = await asyncio.to_thread(self._reader.span, trace_id, span_id)
        if span is None:
            raise BadRequest(404, "no such span is stored")
        return answer(SpanView.of(span))

    async def findings(self, request: Request) -> Response:
        """What the logging agent says."""
        asked = query(request, FindingsQuery)
        return answer(FindingsView(findings=await asyncio.to_thread(lambda: self._reader.findings(limit=asked.limit))))

    async def spending(self, request: Request) -> Response:
        """Where time and tokens went."""
        asked = query(request, SpendingQuery)
        since_s = self._clock.unix_ns() / 1e9 - asked.window_s
        rows = await asyncio.to_thread(lambda: self._reader.spending(since_s=since_s, obs=asked.obs))
        return answer(SpendingsView(window_s=asked.window_s, spending=tuple(map(SpendingView.of, rows))))

    async def agents(self, request: Request) -> Response:
        """Who is alive."""
        query(request, Nothing)
        async with asyncio.timeout(5):
            nodes, agents = await self._directory()
        return answer(DirectoryView(nodes=tuple(nodes), agents=tuple(agents)))

    async def health(self, request: Request) -> Response:
        """How complete the record is."""
        query(request, Nothing)
        return answer(HealthView.of(await asyncio.to_thread(self._reader.health)))

    async def events(self, request: Request) -> Response:
        """News, from after ``Last-Event-ID`` if it is given."""
        last = request.headers.get("last-event-id", "").strip()
        if last and not (last.isascii() and last.isdigit() and len(last) < 20):
            raise BadRequest(400, f"Last-Event-ID {last[:40]!r}: expected the number of an earlier event")
        news = self._live.read(int(last) if last else None)
        return StreamingResponse(while_in(request, news), media_type="text/event-stream")
