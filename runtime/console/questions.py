"""Questions that people put: SQL over the store, recorded runs with something changed, and runs side by side."""

import asyncio
import csv
import io
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from antiphon.runtime.clock import Clock
from antiphon.runtime.console.asking import answer, body, query
from antiphon.runtime.console.cohort import Cohort, choose, samples, spans_of
from antiphon.runtime.console.comparing import CohortQuery, Cohorts, CompareQuery, contrasted, described, laid
from antiphon.runtime.console.refusing import refused
from antiphon.runtime.errors import AntiphonError, Busy
from antiphon.runtime.store.query import Reader
from antiphon.runtime.store.sql import MOST_ROWS, QUERY_BYTES, Answer, ask
from antiphon.runtime.whatif.answer import answer as replayed
from antiphon.runtime.whatif.ensemble import assemble
from antiphon.runtime.whatif.picture import picture, typical
from antiphon.runtime.whatif.question import parse
from antiphon.schemas.finding import Estimate
from antiphon.schemas.message import Value

AT_ONCE: Final = 2  # of what takes seconds: the console and the store's writer share this process
ANSWER_S: Final = 30.0  # of reading for one question; what is replayed then is bounded by itself
TURN_S: Final = 60.0  # for which one waits behind the questions of others
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


class Whatif(Cohort):
    """Which runs (one, or a cohort), and what would be different, in the words of ``antiphon whatif``."""

    run: str | None = Field(default=None, max_length=400)
    pool: Words = ()
    scale: Words = ()
    remove: Words = ()
    drop: Words = ()
    dedupe: Words = ()
    swap: Words = ()
    hedge: Words = ()
    single_flight: Words = ()
    parallelise: Words = ()
    least_attained: Words = ()


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
    """As ``antiphon whatif --json``, and a run of which the saving is the median, before and after."""

    runs: int
    left_out: dict[str, int]
    rows: tuple[QuantityView, ...]
    before_s: tuple[float, ...]
    after_s: tuple[float, ...]
    fidelity: float
    tasks: int
    assumptions: tuple[str, ...]
    waterfall: PictureView


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
            Route("/api/compare", self.contrast, methods=["POST"]),
            Route("/api/cohort", self.cohort),
        ]

    async def sql(self, request: Request) -> Response:
        """What a query finds."""
        asked = await body(request, SqlQuery)
        try:
            async with self._turn():
                found = await asyncio.to_thread(ask, self._path, asked.query, limit=asked.limit)
        except AntiphonError as error:
            raise refused(error) from None
        if asked.format == "json":
            return answer(TableView.of(found))
        headers = {"content-disposition": 'attachment; filename="antiphon.csv"'}
        if found.truncated:
            headers["x-antiphon-truncated"] = "1"  # rows of a table have no place to say it
        return Response(table_csv(found), media_type="text/csv", headers=headers)

    async def whatif(self, request: Request) -> Response:
        """What recorded runs would have taken."""
        asked = await body(request, Whatif)
        return await self._answered(lambda reader: self._replay(reader, asked))

    async def compare(self, request: Request) -> Response:
        """Two runs side by side."""
        asked = query(request, CompareQuery)
        return await self._answered(lambda reader: laid(reader, asked))

    async def contrast(self, request: Request) -> Response:
        """Two cohorts side by side."""
        asked = await body(request, Cohorts)
        return await self._answered(lambda reader: contrasted(reader, asked, self._clock.unix_ns()))

    async def cohort(self, request: Request) -> Response:
        """What is in a cohort, to ask about."""
        asked = query(request, CohortQuery)
        return await self._answered(lambda reader: described(reader, asked, self._clock.unix_ns()))

    async def _answered(self, work: Callable[[Reader], Value]) -> Response:
        try:
            async with self._turn():
                return answer(await asyncio.to_thread(lambda: work(self._reader.within(ANSWER_S))))
        except AntiphonError as error:
            raise refused(error) from None

    @asynccontextmanager
    async def _turn(self) -> AsyncGenerator[None, None]:
        try:
            async with asyncio.timeout(TURN_S):
                await self._turns.acquire()
        except TimeoutError:
            raise Busy(f"{AT_ONCE} questions of others have been at work for {TURN_S:g} s: try again") from None
        try:
            yield
        finally:
            self._turns.release()

    def _replay(self, reader: Reader, asked: Whatif) -> WhatifView:
        question = parse(
            pool=asked.pool,
            scale=asked.scale,
            remove=asked.remove,
            drop=asked.drop,
            dedupe=asked.dedupe,
            swap=asked.swap,
            hedge=asked.hedge,
            single_flight=asked.single_flight,
            parallelise=asked.parallelise,
            least_attained=asked.least_attained,
        )
        left_out: Counter[str] = Counter()
        if asked.run is not None:
            chosen = [asked.run]
        else:
            runs = choose(reader, asked, now_ns=self._clock.unix_ns(), left_out=left_out)
            chosen = [run.run for run in runs]
        ensemble = assemble((spans_of(reader, run) for run in chosen), left_out)
        others = samples(reader, question, chosen)
        found = replayed(question, ensemble, others, random.Random(_SEED))
        place = typical(found.before_s, found.after_s)
        drawn = picture(question, ensemble, others, place)
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
                run=ensemble.played[place].trace.run,
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
