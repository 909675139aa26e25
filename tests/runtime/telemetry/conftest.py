from collections.abc import Iterator
from random import Random

import pytest

from antiphon.runtime.telemetry.codec import SpanRow
from antiphon.runtime.telemetry.span import LightSpan
from antiphon.runtime.telemetry.tracer import LightTracer
from antiphon.schemas.telemetry import SpanRecord


class Recorded:
    """A recorder that keeps what it gets; every look at its clock is one nanosecond later."""

    def __init__(self) -> None:
        self.rows: list[SpanRow] = []
        self.watched: set[LightSpan] = set()
        self._now_ns = 1_700_000_000_000_000_000

    def unix_ns(self) -> int:
        self._now_ns += 1
        return self._now_ns

    def add_span(self, row: SpanRow) -> None:
        self.rows.append(row)

    def watch(self, span: LightSpan) -> None:
        self.watched.add(span)

    def unwatch(self, span: LightSpan) -> None:
        self.watched.discard(span)

    @property
    def spans(self) -> dict[str, SpanRecord]:
        """Finished spans by name."""
        return {row.name: row.record() for row in self.rows}


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """Where the tracer's spans end up."""
    yield Recorded()


@pytest.fixture
def tracer(recorded: Recorded) -> LightTracer:
    """A tracer with reproducible ids that records everything."""
    return LightTracer(recorded, Random(7))
