"""What an engine did in the last minute: counters and quantiles that its steps feed. Imports no torch."""

import math
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from antiphon.runtime.clock import Clock
from antiphon.runtime.engine.model_size import ModelSize
from antiphon.runtime.engine.plan import Sampled, StepPlan
from antiphon.runtime.store.sketch import Sketch
from antiphon.schemas.inference import EngineMetrics

WINDOW_S: Final = 60.0
_SLOT_S: Final = 5.0
_NS: Final = 1e9  # sketches count in whole units: nanoseconds


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """What the hardware reaches in the dtype that is used, as ``antiphon models calibrate`` measured it."""

    flops_per_s: float
    bytes_per_s: float


@dataclass(slots=True, kw_only=True)
class _Slot:
    """What happened in a few seconds from ``start_s``."""

    start_s: float
    requests: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    steps: int = 0
    rows: int = 0
    step_s: float = 0.0
    flops: float = 0.0
    bytes: float = 0.0
    drafted: int = 0
    accepted: int = 0
    first_token: Sketch = field(default_factory=Sketch)
    inter_token: Sketch = field(default_factory=Sketch)


class ReadBytes(Protocol):
    """Bytes of weights, as they lie in memory, that a step reads."""

    def __call__(self, *, tokens: int, scored: int) -> int:
        """``scored``: positions whose scores over the vocabulary are computed."""
        ...


class Meter:
    """Fed by the thread that runs steps; ``snapshot`` may be called from any.

    ``read_bytes``: what a step of so many tokens, of which so many are scored, reads of the weights; ``kv_bytes``: of
    one element of keys and values; ``peaks`` (None: not measured, so utilisation is None).
    """

    def __init__(
        self, size: ModelSize, *, read_bytes: ReadBytes, kv_bytes: float, clock: Clock, peaks: Peaks | None = None
    ) -> None:
        self._size = size
        self._read_bytes = read_bytes
        self._token_bytes = size.kv_elements * kv_bytes
        self._clock = clock
        self._peaks = peaks
        self._lock = threading.Lock()
        self._began_s = clock.monotonic_s()
        self._slots: deque[_Slot] = deque(maxlen=math.ceil(WINDOW_S / _SLOT_S))
        self._preemptions = 0

    def admitted(self, *, prompt_tokens: int, cached_tokens: int) -> None:
        """A request got its first pages; ``cached_tokens`` of its prompt need not be computed."""
        with self._lock:
            slot = self._slot()
            slot.input_tokens += prompt_tokens
            slot.cached_tokens += cached_tokens

    def first_token(self, since_submitted_s: float) -> None:
        """A request's first token was sampled."""
        with self._lock:
            self._slot().first_token.add(since_submitted_s * _NS)

    def later_tokens(self, count: int, gap_s: float) -> None:
        """``count`` more tokens of a request came together, ``gap_s`` after the one before: each took its share."""
        with self._lock:
            sketch = self._slot().inter_token
            for _ in range(count):
                sketch.add(gap_s / count * _NS)

    def step(self, plan: StepPlan, sampled: Sequence[Sampled], elapsed_s: float) -> None:
        """A step has run; ``sampled`` as the runner returned it, one for each row that samples."""
        rows = plan.rows
        drafted = sum(len(row.drafts) for row in rows)
        tokens = sum(len(each.tokens) for each in sampled)
        new, scored = plan.new_tokens, len(sampled) + drafted
        pairs = sum(row.count * row.start + row.count * (row.count + 1) // 2 for row in rows)
        flops = self._size.flops(tokens=new, sampled=scored, pairs=pairs)
        moved = self._read_bytes(tokens=new, scored=scored) + self._token_bytes * (plan.kv_tokens + new)
        with self._lock:
            slot = self._slot()
            slot.steps += 1
            slot.rows += len(rows)
            slot.step_s += elapsed_s
            slot.output_tokens += tokens
            slot.drafted += drafted
            slot.accepted += tokens - len(sampled)
            slot.flops += flops
            slot.bytes += moved

    def preempted(self) -> None:
        """A request lost its pages and will be computed again."""
        with self._lock:
            self._preemptions += 1

    def finished(self) -> None:
        """A request has ended, however."""
        with self._lock:
            self._slot().requests += 1

    def snapshot(self, *, waiting: int, running: int, pages_used: int, pages_total: int) -> EngineMetrics:
        """The last WINDOW_S seconds, or as many as there were; the arguments are what is so now."""
        with self._lock:
            now_s = self._clock.monotonic_s()
            self._forget(now_s)
            slots = list(self._slots)
            first_token, inter_token = Sketch(), Sketch()
            for slot in slots:
                first_token.merge(slot.first_token)
                inter_token.merge(slot.inter_token)
        window_s = max(min(now_s - self._began_s, WINDOW_S), 1e-9)
        steps, drafted = sum(slot.steps for slot in slots), sum(slot.drafted for slot in slots)
        step_s = sum(slot.step_s for slot in slots)
        flops_per_s = sum(slot.flops for slot in slots) / step_s if step_s else None
        bytes_per_s = sum(slot.bytes for slot in slots) / step_s if step_s else None
        peaks = self._peaks
        return EngineMetrics(
            window_s=window_s,
            requests=sum(slot.requests for slot in slots),
            waiting=waiting,
            running=running,
            first_token_p50_s=_quantile(first_token, 0.5),
            first_token_p99_s=_quantile(first_token, 0.99),
            inter_token_p50_s=_quantile(inter_token, 0.5),
            inter_token_p99_s=_quantile(inter_token, 0.99),
            input_tokens_per_s=sum(slot.input_tokens for slot in slots) / window_s,
            cached_tokens_per_s=sum(slot.cached_tokens for slot in slots) / window_s,
            output_tokens_per_s=sum(slot.output_tokens for slot in slots) / window_s,
            batch_rows=sum(slot.rows for slot in slots) / steps if steps else None,
            pages_used=pages_used,
            pages_total=pages_total,
            preemptions=self._preemptions,
            draft_acceptance=sum(slot.accepted for slot in slots) / drafted if drafted else None,
            busy=min(step_s / window_s, 1.0),
            flops_per_s=flops_per_s,
            bytes_per_s=bytes_per_s,
            flops_utilisation=flops_per_s / peaks.flops_per_s if peaks and flops_per_s else None,
            bandwidth_utilisation=bytes_per_s / peaks.bytes_per_s if peaks and bytes_per_s else None,
        )

    def _slot(self) -> _Slot:
        now_s = self._clock.monotonic_s()
        if not self._slots or now_s >= self._slots[-1].start_s + _SLOT_S:
            self._slots.append(_Slot(start_s=now_s))
        return self._slots[-1]

    def _forget(self, now_s: float) -> None:
        while self._slots and self._slots[0].start_s <= now_s - WINDOW_S:
            self._slots.popleft()


def _quantile(sketch: Sketch, share: float) -> float | None:
    return sketch.quantile(share) / _NS if sketch.counts else None
