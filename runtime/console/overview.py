"""The system at a glance: over time, message by message, model by model, and how good predictions were."""

import asyncio
from functools import partial

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from antiphon.runtime.bus.matching import check_pattern
from antiphon.runtime.clock import Clock
from antiphon.runtime.console.asking import BadRequest, answer, query
from antiphon.runtime.console.overview_views import (
    CalibrationView,
    MessagesView,
    ModelsView,
    SeriesView,
)
from antiphon.runtime.errors import BusError
from antiphon.runtime.store.flow import sent
from antiphon.runtime.store.model_use import model_use
from antiphon.runtime.store.query import Reader
from antiphon.runtime.store.series import Over, series
from antiphon.runtime.store.window import Window
from antiphon.schemas.message import Value

LONGEST_S = 31 * 24 * 3_600


class SeriesQuery(Value):
    """How far back, in how many steps, of whom."""

    window_s: int = Field(default=3_600, ge=1, le=LONGEST_S)
    points: int = Field(default=60, ge=1, le=500)
    agent: str = Field(default="", max_length=256)
    model: str = Field(default="", max_length=256)
    obs: bool = False


class WindowQuery(Value):
    """How far back."""

    window_s: float = Field(default=300, gt=0, le=LONGEST_S)
    obs: bool = False

    def window(self, clock: Clock) -> Window:
        """Until now."""
        return Window(since_ns=max(clock.unix_ns() - int(self.window_s * 1e9), 0), obs=self.obs)


class MessagesQuery(Value):
    """``after`` is the ``next`` of an earlier answer; ``filter`` has NATS wildcards."""

    after: int | None = Field(default=None, ge=0, lt=2**63)
    filter: str = Field(default=">", min_length=1, max_length=256)
    limit: int = Field(default=200, ge=1, le=1_000)
    obs: bool = False


class CalibrationQuery(Value):
    """Of how many findings at most."""

    limit: int = Field(default=1_000, ge=1, le=1_000)


class Overview:
    """Handlers over a reader, which is asked in threads."""

    def __init__(self, reader: Reader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock

    def routes(self) -> list[BaseRoute]:
        """Where each is found."""
        return [
            Route("/api/series", self.series),
            Route("/api/messages", self.messages),
            Route("/api/models", self.models),
            Route("/api/calibration", self.calibration),
        ]

    async def series(self, request: Request) -> Response:
        """Counts, durations and tokens over time."""
        asked = query(request, SeriesQuery)
        step_s = max(-(-asked.window_s // asked.points), 1)
        first_s = (self._clock.unix_ns() // 1_000_000_000 // step_s + 1 - asked.points) * step_s
        over = Over(
            since_s=first_s, step_s=step_s, points=asked.points, agent=asked.agent, model=asked.model, obs=asked.obs
        )
        points = await asyncio.to_thread(self._reader.ask, partial(series, over=over))
        return answer(SeriesView.of(over, points))

    async def messages(self, request: Request) -> Response:
        """The newest messages, or those after a place."""
        asked = query(request, MessagesQuery)
        try:
            check_pattern(asked.filter)
        except BusError as error:
            raise BadRequest(400, f"parameter 'filter': {error.message}") from None
        found, reached, more = await asyncio.to_thread(
            self._reader.ask,
            partial(sent, after=asked.after, wanted=asked.filter, limit=asked.limit, obs=asked.obs),
        )
        return answer(MessagesView.of(found, reached, more=more))

    async def models(self, request: Request) -> Response:
        """How model instances did."""
        asked = query(request, WindowQuery)
        window = asked.window(self._clock)
        found, truncated = await asyncio.to_thread(self._reader.ask, partial(model_use, window=window))
        return answer(ModelsView.of(found, window.since_ns, self._clock.unix_ns(), truncated=truncated))

    async def calibration(self, request: Request) -> Response:
        """What was predicted, and what came of it."""
        asked = query(request, CalibrationQuery)
        findings = await asyncio.to_thread(lambda: self._reader.findings(limit=asked.limit))
        return answer(CalibrationView.of(findings))
