"""Questions that people put: SQL over the store, recorded runs with something changed, and two runs side by side."""

import asyncio
import csv
import io
import random
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from antiphon.runtime.clock import Clock
from antiphon.runtime.console.asking import answer, body, query
from antiphon.runtime.console.cohort import choose, samples, spans_of
from antiphon.runtime.console.refusing import refused
from antiphon.runtime.errors import AntiphonError
from antiphon.runtime.replay.difference import Difference, difference
from antiphon.runtime.store.query import Reader, RunFilter
from antiphon.runtime.store.runs import RunStatus
from antiphon.runtime.store.sql import MOST_ROWS, QUERY_BYTES, Answer, ask
from antiphon.runtime.whatif.answer import answer as replayed
from antiphon.runtime.whatif.ensemble import assemble
from antiphon.runtime.whatif.picture import picture
from antiphon.runtime.whatif.question import parse
from antiphon.schemas.finding import Estimate
from antiphon.schemas.message import Value

AT_ONCE: Final = 2  # of what takes seconds: the console and the store's writer share this process
_SEED: Final = 1
_EXACT: Final = 2**53
Words = Annotated[tuple[Annotated[str, Field(max_length=300)], ...], Field(max_length=20)]


class SqlQuery(Value):
    """One SELECT, and in which form its rows come."""

    query: str = Field(min_length=1, max_length=QUERY_BYTES)
    limit: int = Field(default=1_000, ge=1, le=MOST_ROWS)
    format: Literal["json", "csv"] = "json"


class TableView(Value):
    """Rows. Blobs are hexadecimal, numbers that JavaScript cannot hold exactly are text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | float | None, ...], ...]
    truncated: bool
    elapsed_ms: float

    @classmethod
    def of(cls, found: Answer) -> "TableView":
        """For a browser."""
        return cls(
            columns=found.columns,
            rows=tuple(tuple(map(_shown, row)) for row in found.rows),
            truncated=found.truncated,
            elapsed_ms=found.elapsed_s * 1000,
        )


class Whatif(Value):
    """Which runs (one, or the newest of a cohort), and what would be different, in the words of ``antiphon whatif``."""

    run: str | None = Field(default=None, max_length=400)
    agent: str | None = Field(default=None, max_length=256)
    model: str | None = Field(default=None, max_length=256)
    status: RunStatus | None = None
    last_s: float | None = Field(default=None, gt=0, le=1e9)
    limit: int = Field(default=200, ge=1, le=500)
    pool: Words = ()
    scale: Words = ()
    remove: Words = ()
    drop: Words = ()
    dedupe: Words = ()
    swap: Words = ()
    hedge: Words = ()


class QuantityView(Value):
    """One quantity before and after; ``saving`` may be negative. ``unit``: s, tokens or usd."""

    name: str
    unit: str
    before: float
    after: float
    saving: Estimate


class StepView(Value):
    """A step from begin to end in milliseconds of the run; ``after`` None: it is no longer done."""

    label: str
    depth: int
    before: tuple[float, float]
    after: tuple[float, float] | None


class PictureView(Value):
    """One run step by step."""

    run: str
    steps: tuple[StepView, ...]


class WhatifView(Value):
    """As ``antiphon whatif --json``, and the newest run before and after."""

    runs: int
    left_out: dict[str, int]
    rows: tuple[QuantityView, ...]
    before_s: tuple[float, ...]
    after_s: tuple[float, ...]
    fidelity: float
    tasks: int
    assumptions: tuple[str, ...]
    waterfall: PictureView


class CompareQuery(Value):
    """Two runs."""

    left: str = Field(min_length=1, max_length=400)
    right: str = Field(min_length=1, max_length=400)


class DifferenceView(Value):
    """``left`` and ``right``: run, latency_s, cost and critical_s by label; ``rows``: steps in preorder, aligned."""

    left: dict[str, Any]
    right: dict[str, Any]
    rows: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, found: Difference) -> "DifferenceView":
        """As it was found."""
        return cls(**asdict(found))


class Questions:
    """Handlers over the store's file and its reader."""

    def __init__(self, path: Path, reader: Reader, clock: Clock) -> None:
        self._path = path
        self._reader = reader
        self._clock = clock
        self._turns = asyncio.Semaphore(AT_ONCE)

    def routes(self) -> list[BaseRoute]:
        """Where each is found."""
        return [
            Route("/api/sql", self.sql, methods=["POST"]),
            Route("/api/whatif", self.whatif, methods=["POST"]),
            Route("/api/compare", self.compare),
        ]

    async def sql(self, request: Request) -> Response:
        """What a query finds."""
        asked = await body(request, SqlQuery)
        try:
            async with self._turns:
                found = await asyncio.to_thread(ask, self._path, asked.query, limit=asked.limit)
        except AntiphonError as error:
            raise refused(error) from None
        if asked.format == "json":
            return answer(TableView.of(found))
        headers = {"content-disposition": 'attachment; filename="antiphon.csv"'}
        return Response(table_csv(found), media_type="text/csv", headers=headers)

    async def whatif(self, request: Request) -> Response:
        """What recorded runs would have taken."""
        asked = await body(request, Whatif)
        try:
            async with self._turns:
                return answer(await asyncio.to_thread(self._replay, asked))
        except AntiphonError as error:
            raise refused(error) from None

    async def compare(self, request: Request) -> Response:
        """Two runs side by side."""
        asked = query(request, CompareQuery)
        try:
            async with self._turns:
                found = await asyncio.to_thread(self._lay, asked)
        except AntiphonError as error:
            raise refused(error) from None
        return answer(found)

    def _lay(self, asked: CompareQuery) -> DifferenceView:
        sides = [spans_of(self._reader, run) for run in (asked.left, asked.right)]
        return DifferenceView.of(difference(sides[0], sides[1]))

    def _replay(self, asked: Whatif) -> WhatifView:
        question = parse(
            pool=asked.pool,
            scale=asked.scale,
            remove=asked.remove,
            drop=asked.drop,
            dedupe=asked.dedupe,
            swap=asked.swap,
            hedge=asked.hedge,
        )
        left_out: Counter[str] = Counter()
        if asked.run is not None:
            chosen = [asked.run]
        else:
            wanted = RunFilter(agent=asked.agent, model=asked.model, status=asked.status)
            since_ns = 0 if asked.last_s is None else max(self._clock.unix_ns() - int(asked.last_s * 1e9), 0)
            runs = choose(self._reader, wanted, since_ns=since_ns, limit=asked.limit, left_out=left_out)
            chosen = [run.run for run in runs]
        ensemble = assemble((spans_of(self._reader, run) for run in chosen), left_out)
        others = samples(self._reader, question, chosen)
        found = replayed(question, ensemble, others, random.Random(_SEED))
        one = ensemble.played[0].trace
        drawn = picture(question, assemble([[step.span for step in one.steps]]), others)
        return WhatifView(
            runs=found.runs,
            left_out=dict(found.left_out),
            rows=tuple(
                QuantityView(name=row.name, unit=row.unit, before=row.before, after=row.after, saving=row.saving)
                for row in found.rows
            ),
            before_s=found.before_s,
            after_s=found.after_s,
            fidelity=found.fidelity,
            tasks=found.tasks,
            assumptions=found.assumptions,
            waterfall=PictureView(
                run=one.run,
                steps=tuple(
                    StepView(
                        label=step.label,
                        depth=step.depth,
                        before=_ms(step.before_s),
                        after=None if step.after_s is None else _ms(step.after_s),
                    )
                    for step in drawn
                ),
            ),
        )


def table_csv(found: Answer) -> str:
    """Comma-separated, as RFC 4180 has it; texts that a spreadsheet would run as formulas begin with an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(found.columns)
    writer.writerows([_cell(value) for value in row] for row in found.rows)
    return out.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _shown(value: object) -> str | int | float | None:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, int) and abs(value) > _EXACT:
        return str(value)
    if isinstance(value, float) and value - value != 0:  # infinite: JSON has no such number
        return str(value)
    assert value is None or isinstance(value, str | int | float)  # SQLite has no other types
    return value


def _ms(times: tuple[float, float]) -> tuple[float, float]:
    return times[0] * 1000, times[1] * 1000
