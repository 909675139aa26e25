"""A clock that stands still, spans with little ceremony, and a store of one's own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from antiphon.runtime.store.sqlite import Received, Store, Written
from antiphon.schemas.telemetry import LogRecord, SpanRecord, TelemetryBatch

S = 1_000_000_000
START = 1_700_000_000 * S


class StillClock:
    """Moves only when told to."""

    def __init__(self) -> None:
        self.now_ns = START

    def unix_ns(self) -> int:
        return self.now_ns

    def monotonic_s(self) -> float:
        return self.now_ns / S


class Make:
    """Builders of records; span n of trace t has the bytes of these numbers as ids."""

    start_ns = START

    def step(
        self, number: int, *, trace: int = 1, parent: int | None = None, at_s: float = 0, took_s: float = 1, **more: Any
    ) -> SpanRecord:
        """Span ``number`` of trace ``trace``; ``took_s`` 0 makes a start record."""
        start = START + int(at_s * S)
        return SpanRecord(
            trace_id=trace.to_bytes(16),
            span_id=number.to_bytes(8),
            parent_id=None if parent is None else parent.to_bytes(8),
            start_ns=start,
            end_ns=start + int(took_s * S) if took_s else 0,
            **{"name": f"step {number}", **more},
        )

    def process(
        self,
        number: int,
        *,
        agent: str = "writer",
        handler: str = "write",
        run: str = "r1",
        attempt: int = 1,
        **more: Any,
    ) -> SpanRecord:
        """A handler's span."""
        attributes = {
            "antiphon.run": run,
            "antiphon.agent": agent,
            "antiphon.handler": handler,
            "antiphon.task": more.pop("task", f"task-{agent}"),
            "antiphon.attempt": attempt,
            **more.pop("attributes", {}),
        }
        return self.step(
            number, kind=4, name="process antiphon.{tenant}.task.{agent}.{handler}", attributes=attributes, **more
        )

    def chat(self, number: int, *, run: str = "r1", model: str = "smollm2-135m", **more: Any) -> SpanRecord:
        """A model call of 100 tokens in (40 of them cached) and 7 out."""
        attributes = {
            "antiphon.run": run,
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": model,
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 7,
            "gen_ai.usage.cache_read.input_tokens": 40,
            "antiphon.model.queue_s": 0.1,
            "antiphon.model.prefill_s": 0.2,
            "antiphon.model.decode_s": 0.5,
        }
        return self.step(number, kind=2, name=f"chat {model}", attributes=attributes, **more)

    def batch(
        self, *spans: SpanRecord, sequence: int = 1, dropped: int = 0, logs: tuple[LogRecord, ...] = (), node: str = "a"
    ) -> TelemetryBatch:
        """A batch of one node."""
        return TelemetryBatch(node=node, sequence=sequence, dropped=dropped, spans=list(spans), logs=list(logs))


@pytest.fixture
def make() -> Make:
    return Make()


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path, clock: StillClock) -> Iterator[Store]:
    store = Store.open(path, clock=clock)
    yield store
    store.close()


@pytest.fixture
def put(store: Store, make: Make) -> Callable[..., Written]:
    """Store spans as the next batch."""
    count = iter(range(1, 1_000_000))

    def write(*spans: SpanRecord, logs: tuple[LogRecord, ...] = ()) -> Written:
        return store.write([Received(batch=make.batch(*spans, sequence=next(count), logs=logs))])

    return write
