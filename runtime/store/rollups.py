"""Sums and quantiles per second, so that dashboards never scan spans."""

from dataclasses import dataclass, field
from typing import NamedTuple

from antiphon.runtime.store.facts import ERROR, Facts
from antiphon.runtime.store.sketch import Sketch
from antiphon.schemas.telemetry import SpanRecord

# Agents x operations x models that can be active in one second; beyond it, names are folded together.
MAX_KEYS_PER_SECOND = 512


class Key(NamedTuple):
    """What one cell is about. ``second`` is the unix second in which the spans ended."""

    second: int
    agent: str
    operation: str
    model: str
    obs: bool


@dataclass(slots=True)
class Cell:
    """Sums over the spans of one key; times in nanoseconds."""

    count: int = 0
    errors: int = 0
    sum_ns: int = 0
    queue_ns: int = 0
    prefill_ns: int = 0
    decode_ns: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    sketch: Sketch = field(default_factory=Sketch)

    def add(self, span: SpanRecord, facts: Facts) -> None:
        """Take in a finished span."""
        duration = span.end_ns - span.start_ns if span.end_ns > span.start_ns else 0
        self.count += 1
        self.errors += span.status == ERROR
        self.sum_ns += duration
        self.queue_ns += facts.queue_ns
        if facts.is_model:
            self.prefill_ns += facts.prefill_ns
            self.decode_ns += facts.decode_ns
            self.input_tokens += facts.input_tokens
            self.output_tokens += facts.output_tokens
            self.cached_tokens += facts.cached_tokens
        self.sketch.add(duration)

    def merge(self, other: "Cell") -> None:
        """Take in what another counted."""
        self.count += other.count
        self.errors += other.errors
        self.sum_ns += other.sum_ns
        self.queue_ns += other.queue_ns
        self.prefill_ns += other.prefill_ns
        self.decode_ns += other.decode_ns
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.cached_tokens += other.cached_tokens
        self.sketch.merge(other.sketch)


class Rollups:
    """Cells not written yet."""

    def __init__(self) -> None:
        self._cells: dict[Key, Cell] = {}
        self._keys: dict[int, int] = {}

    def add(self, span: SpanRecord, facts: Facts) -> None:
        """Count a span that has ended."""
        second = span.end_ns // 1_000_000_000
        key = Key(second, facts.agent, facts.operation, facts.model, facts.obs)
        cell = self._cells.get(key)
        if cell is None:
            used = self._keys.get(second, 0)
            if used >= MAX_KEYS_PER_SECOND:
                key = Key(second, "", "other", "", facts.obs)
            self._keys[second] = used + 1
            cell = self._cells.setdefault(key, Cell())
        cell.add(span, facts)

    def take(self) -> dict[Key, Cell]:
        """Everything counted since the last call."""
        cells, self._cells, self._keys = self._cells, {}, {}
        return cells
