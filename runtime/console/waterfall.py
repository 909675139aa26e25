"""Very large runs: pages of columns, the links between their spans, and where time and tokens went."""

import asyncio
from collections import OrderedDict
from functools import partial
from typing import Final

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from antiphon.runtime.console.asking import BadRequest, Nothing, answer, query
from antiphon.runtime.console.views import SpendingView, span_key
from antiphon.runtime.store.columns import Page, Place, links, page
from antiphon.runtime.store.query import Reader
from antiphon.runtime.store.spending import run_spending
from antiphon.schemas.message import Value

CACHE_BYTES: Final = 24_000_000  # of pages: reading 50,000 spans takes 0.3 s
MOST_LINKS: Final = 20_000
MOST_SUMMED: Final = 50_000  # spans: 35 MB while they are summed

Key = tuple[str, str, int]


class PageQuery(Value):
    """``after`` is the ``next`` of the page before."""

    limit: int = Field(default=20_000, ge=1, le=50_000)
    after: str | None = Field(default=None, max_length=60)


class LinkView(Value):
    """``from`` continues ``to``; both TRACE.SPAN."""

    source: str = Field(alias="from")
    to: str


class LinksView(Value):
    """Links of a run besides those to parents."""

    links: tuple[LinkView, ...]
    truncated: bool


class RunSpendingView(Value):
    """Where time and tokens of a run's earliest ``spans`` spans went."""

    spans: int
    spending: tuple[SpendingView, ...]


class Waterfall:
    """Pages over a reader, kept up to CACHE_BYTES for as long as their run stands as it did."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._pages: OrderedDict[Key, Page] = OrderedDict()
        self._bytes = 0

    def routes(self) -> list[BaseRoute]:
        """Where each is found."""
        return [
            Route("/api/runs/{run}/waterfall", self.page),
            Route("/api/runs/{run}/links", self.links),
            Route("/api/runs/{run}/spending", self.spending),
        ]

    async def page(self, request: Request) -> Response:
        """The next spans of a run as columns."""
        asked = query(request, PageQuery)
        run = request.path_params["run"]
        try:
            after = Place() if asked.after is None else Place.parse(asked.after)
        except ValueError as error:
            raise BadRequest(400, str(error)) from None
        key = (run, str(after), asked.limit)
        look = partial(page, run=run, after=after, limit=asked.limit, kept=self._pages.get(key))
        found = await asyncio.to_thread(self._reader.ask, look)
        if found is None:
            raise _unknown(run)
        self._keep(key, found)
        return Response(found.body, media_type="application/octet-stream")

    async def links(self, request: Request) -> Response:
        """What continues what."""
        query(request, Nothing)
        found, truncated = await asyncio.to_thread(
            self._reader.ask, partial(links, run=request.path_params["run"], most=MOST_LINKS)
        )
        shown = tuple(
            LinkView.model_validate({"from": span_key(each[0], each[1]), "to": span_key(each[2], each[3])})
            for each in found
        )
        return answer(LinksView(links=shown, truncated=truncated))

    async def spending(self, request: Request) -> Response:
        """Where its time and tokens went."""
        query(request, Nothing)
        run = request.path_params["run"]
        found = await asyncio.to_thread(self._reader.ask, partial(run_spending, run=run, most=MOST_SUMMED))
        if found is None:
            raise _unknown(run)
        rows, spans = found
        return answer(RunSpendingView(spans=spans, spending=tuple(map(SpendingView.of, rows))))

    def _keep(self, key: Key, found: Page) -> None:
        before = self._pages.pop(key, None)
        self._pages[key] = found
        self._bytes += len(found.body) - (0 if before is None else len(before.body))
        while self._bytes > CACHE_BYTES:
            self._bytes -= len(self._pages.popitem(last=False)[1].body)


def _unknown(run: str) -> BadRequest:
    return BadRequest(404, f"no run {run[:80]!r} is stored; it may be older than what is kept")
