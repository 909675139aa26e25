"""The time law finds its constants again, through noise and outliers, and says how far off it is."""

import csv
import random
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from antiphon.runtime.whatif.regression import fit_line
from antiphon.runtime.whatif.time_law import MIN_CALLS, Call, TimeLaw, call_of, fit, fit_all
from antiphon.runtime.whatif.trace import build

if TYPE_CHECKING:
    from antiphon.runtime.whatif.testing import Traced

SPLITWISE = Path(__file__).parents[4] / "shared" / "data" / "splitwise_perf_model.csv"
LAW = TimeLaw(a0=0.02, a1=0.0005, b0=0.01, b1=0.004, g=0.1, error=0.0, calls=0)


def _calls(count: int, rng: random.Random, noise: float = 0.0, *, split: bool = True) -> list[Call]:
    found = []
    for _ in range(count):
        uncached, output, active = rng.randint(10, 2_000), rng.randint(1, 400), rng.randint(1, 8)
        prefill_s, decode_s = (
            seconds * rng.lognormvariate(0, noise)
            for seconds in (LAW.prefill_s(uncached), LAW.decode_s(output, active))
        )
        found.append(
            Call(
                uncached=uncached,
                output=output,
                active=active,
                prefill_s=prefill_s if split else None,
                decode_s=decode_s if split else prefill_s + decode_s,
            )
        )
    return found


def _constants(law: TimeLaw | None) -> list[float]:
    assert law is not None
    return [law.a0, law.a1, law.b0, law.b1, law.g]


def test_exact_calls_give_their_constants() -> None:
    """Without noise nothing is lost, and held-out calls are met."""
    law = fit(_calls(60, random.Random(1)))
    assert _constants(law) == pytest.approx(_constants(LAW), rel=1e-3)
    assert law is not None
    assert law.error < 1e-3


def test_a_tenth_of_stragglers_does_not_bend_the_law() -> None:
    """Calls that took twenty times as long, or a twentieth, move the slopes by a few per cent."""
    calls = _calls(200, random.Random(2), 0.05)
    for index in range(0, 200, 10):
        factor = 20 if index % 20 else 0.05
        was = calls[index]
        assert was.prefill_s is not None
        calls[index] = Call(
            uncached=was.uncached,
            output=was.output,
            active=was.active,
            prefill_s=was.prefill_s * factor,
            decode_s=was.decode_s * factor,
        )
    law = fit(calls)
    assert law is not None
    assert law.a1 == pytest.approx(LAW.a1, rel=0.08)
    assert law.b1 == pytest.approx(LAW.b1, rel=0.08)


def test_the_error_is_what_the_noise_is() -> None:
    """The median miss of 20 % log-normal noise in both parts is near 0.674 of what is left of it in their sum."""
    law = fit(_calls(400, random.Random(3), 0.2))
    assert law is not None
    assert 0.07 < law.error < 0.16


def test_whole_durations_give_the_slopes_too() -> None:
    """A model that does not split its time: the two constants are one, the slopes stay."""
    law = fit(_calls(80, random.Random(4), split=False))
    assert law is not None
    assert law.a0 + law.b0 == pytest.approx(LAW.a0 + LAW.b0, rel=0.01)
    assert (law.a1, law.b1, law.g) == pytest.approx((LAW.a1, LAW.b1, LAW.g), rel=0.01)


def test_few_calls_give_no_law() -> None:
    """Three constants need more than three calls."""
    assert fit(_calls(MIN_CALLS - 1, random.Random(5))) is None
    assert fit(_calls(MIN_CALLS, random.Random(5))) is not None


def test_equal_calls_give_a_law_without_slopes_that_meets_them() -> None:
    """Nothing varies: the prediction for the same size is the recorded time."""
    law = fit([Call(uncached=100, output=20, prefill_s=0.1, decode_s=0.4)] * 10)
    assert law is not None
    assert law.service_s(100, 20) == pytest.approx(0.5)


def test_coefficients_are_never_negative() -> None:
    """Longer inputs that took less say nothing of a negative slope."""
    assert fit_line([(1.0, float(x)) for x in range(10)], [10.0 - x / 10 for x in range(10)])[1] == 0.0


def test_calls_are_read_from_spans(traced: "type[Traced]") -> None:
    """Cached tokens do not count; the queue is not service; other work and failures tell nothing."""
    trace = traced(1)
    root = trace.ask(None, "a.b", 0, 1000)
    trace.model(
        root, 0, 500, tokens=100, output=7, gen_ai__usage__cache_read__input_tokens=40,
        antiphon__model__queue_s=0.1, antiphon__model__prefill_s=0.15, antiphon__model__decode_s=0.25,
    )  # fmt: skip
    trace.model(root, 500, 900, gen_ai__response__time_to_first_chunk=0.1)
    trace.model(root, 900, 950, status=2)
    trace.tool(root, "t", 950, 960)
    built = build([(span, "n") for span in trace.spans])
    assert built is not None
    calls = [call for step in built.steps if (call := call_of(step)) is not None]
    assert calls[0] == Call(uncached=60, output=7, active=1, prefill_s=0.15, decode_s=0.25)
    assert (calls[1].prefill_s, calls[1].decode_s) == pytest.approx((0.1, 0.3))
    assert len(calls) == 2
    assert fit_all(built.steps) == {}


@pytest.mark.slow
def test_measured_accelerators_follow_the_law() -> None:
    """Llama-2-70B and BLOOM-176B on A100 and H100: held-out calls within 6 %, by median within 2 %."""
    if not SPLITWISE.exists():
        pytest.skip(f"{SPLITWISE} is not here")
    groups: dict[tuple[str, ...], list[Call]] = defaultdict(list)
    with SPLITWISE.open() as rows:
        for row in csv.DictReader(rows):
            batch, output = int(row["batch_size"]), int(row["token_size"])
            groups[row["model"], row["hardware"], row["tensor_parallel"]].append(
                Call(
                    uncached=int(row["prompt_size"]) * batch,
                    output=output,
                    active=batch,
                    prefill_s=float(row["prompt_time"]) / 1e3,
                    decode_s=float(row["token_time"]) * output / 1e3,  # e2e_time is wrong for long outputs
                )
            )
    errors = []
    for calls in groups.values():
        random.Random(1).shuffle(calls)
        law = fit(calls)
        assert law is not None
        errors.append(law.error)
    assert max(errors) < 0.06
    assert sorted(errors)[len(errors) // 2] < 0.02
