"""What an engine reports of its last minute."""

from antiphon.runtime.engine.metrics import WINDOW_S, Meter, Peaks
from antiphon.runtime.engine.model_size import ModelSize
from antiphon.runtime.engine.plan import Row, Sampled, Sequence, StepPlan
from antiphon.runtime.engine.request import Request
from antiphon.runtime.virtual_time import ManualClock
from antiphon.schemas.inference import EngineMetrics

SIZE = ModelSize(layer_weights=1000, head_weights=100, parameters=1100, kv_elements=8, pair_flops=16)


def meter(clock: ManualClock, peaks: Peaks | None = None) -> Meter:
    """Of a model with SIZE, whose steps read 500 bytes of weights a token and 100 a scored position."""
    return Meter(
        SIZE, read_bytes=lambda *, tokens, scored: 500 * tokens + 100 * scored, kv_bytes=2, clock=clock, peaks=peaks
    )


def row(start: int, count: int, *drafts: int, samples: bool = True) -> Row:
    """A row of a sequence that is long enough."""
    sequence = Sequence(request=Request(id="r", prompt=tuple(range(200))), tokens=list(range(200)))
    return Row(sequence=sequence, start=start, count=count, drafts=drafts, samples=samples)


def seen(found: Meter) -> EngineMetrics:
    """A snapshot of an engine that holds 3 of 8 pages."""
    return found.snapshot(waiting=2, running=1, pages_used=3, pages_total=8)


def test_a_new_engine_has_nothing_to_say() -> None:
    """Gauges are what they are, rates 0, and all else None: no invented numbers."""
    found = seen(meter(ManualClock()))
    assert (found.waiting, found.running, found.pages_used, found.pages_total) == (2, 1, 3, 8)
    assert (found.output_tokens_per_s, found.busy, found.requests) == (0, 0, 0)
    for name in ("first_token_p50_s", "inter_token_p99_s", "batch_rows", "draft_acceptance", "flops_per_s"):
        assert getattr(found, name) is None


def test_a_step_is_counted_by_hand() -> None:
    """A chunk of 4 from position 10 that does not sample, and a decode at 50 with two drafts of which one is taken."""
    clock = ManualClock()
    found = meter(clock, Peaks(flops_per_s=1e6, bytes_per_s=1e5))
    plan = StepPlan(rows=(row(50, 3, 7, 8), row(10, 4, samples=False)))
    clock.advance(10)
    found.step(plan, [Sampled(tokens=(7, 9))], 0.5)
    now = seen(found)
    pairs = (51 + 52 + 53) + (11 + 12 + 13 + 14)
    flops = 2 * (1000 * 7 + 100 * 3) + 16 * pairs
    moved = (500 * 7 + 100 * 3) + 8 * 2 * ((53 + 14) + 7)
    assert now.flops_per_s == flops / 0.5
    assert now.bytes_per_s == moved / 0.5
    assert now.flops_utilisation == flops / 0.5 / 1e6
    assert now.bandwidth_utilisation == moved / 0.5 / 1e5
    assert (now.batch_rows, now.draft_acceptance, now.output_tokens_per_s) == (2, 0.5, 0.2)
    assert now.busy == 0.05


def test_latencies_and_tokens() -> None:
    """Quantiles within 2 %; tokens that come together share their gap."""
    clock = ManualClock()
    found = meter(clock)
    for _ in range(98):
        found.first_token(0.1)
        found.later_tokens(2, 0.02)
    for _ in range(2):
        found.first_token(2.0)
        found.later_tokens(2, 1.0)
    found.admitted(prompt_tokens=300, cached_tokens=120)
    found.preempted()
    found.finished()
    clock.advance(20)
    now = seen(found)
    for value, expected in (
        (now.first_token_p50_s, 0.1),
        (now.first_token_p99_s, 2.0),
        (now.inter_token_p50_s, 0.01),
        (now.inter_token_p99_s, 0.5),
    ):
        assert value is not None
        assert abs(value / expected - 1) < 0.021
    assert (now.input_tokens_per_s, now.cached_tokens_per_s) == (15, 6)
    assert (now.preemptions, now.requests) == (1, 1)


def test_what_is_older_than_the_window_is_forgotten() -> None:
    """But for the preemptions, which are counted since the start."""
    clock = ManualClock()
    found = meter(clock)
    found.first_token(5.0)
    found.finished()
    found.preempted()
    clock.advance(WINDOW_S + 0.1)
    found.first_token(0.1)
    now = seen(found)
    assert now.window_s == WINDOW_S
    assert now.first_token_p99_s is not None
    assert now.first_token_p99_s < 0.2
    assert (now.requests, now.preemptions) == (0, 1)
