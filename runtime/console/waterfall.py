"""Very large runs: pages of columns, and the links between their spans."""

import asyncio
from collections import OrderedDict
from functools import partial
from typing import Final

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from antiphon.runtime.console.asking import BadRequest, Nothing, answer, query
from antiphon.runtime.console.views import span_key
from antiphon.runtime.store.columns import Page, Place, links, page
from antiphon.runtime.store.query import Reader
from antiphon.schemas.message import Value

CACHE_BYTES: Final = 24_000_000  # of pages of runs that have ended: reading 50,000 spans takes 0.3 s
MOST_LINKS: Final = 20_000

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


class Waterfall:
    """Pages over a reader. Those of runs in which nothing runs any more are kept, up to CACHE_BYTES."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._pages: OrderedDict[Key, bytes] = OrderedDict()
        self._bytes = 0

    def routes(self) -> list[BaseRoute]:
        """Where each is found."""
        return [
            Route("/api/runs/{run}/waterfall", self.page),
            Route("/api/runs/{run}/links", self.links),
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
        found = self._pages.get(key)
        if found is None:
            read = await asyncio.to_thread(self._reader.ask, partial(page, run=run, after=after, limit=asked.limit))
            if read is None:
                raise BadRequest(404, f"no run {run[:80]!r} is stored; it may be older than what is kept")
            self._keep(key, read)
            found = read.body
        else:
            self._pages.move_to_end(key)
        return Response(found, media_type="application/octet-stream")

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

    def _keep(self, key: Key, read: Page) -> None:
        if not read.ended or key in self._pages or len(read.body) > CACHE_BYTES:
            return
        self._pages[key] = read.body
        self._bytes += len(read.body)
        while self._bytes > CACHE_BYTES:
            _, gone = self._pages.popitem(last=False)
            self._bytes -= len(gone)
