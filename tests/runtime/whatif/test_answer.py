"""Answers about recorded runs: the analytic value where there is one, an error that says why where there is none."""

import math
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from antiphon.runtime.errors import Unanswerable
from antiphon.runtime.whatif import ensemble
from antiphon.runtime.whatif.answer import Answer, Row, answer
from antiphon.runtime.whatif.ensemble import assemble
from antiphon.runtime.whatif.question import parse
from antiphon.runtime.whatif.trace import Trace
from antiphon.schemas.telemetry import SpanRecord

if TYPE_CHECKING:
    from antiphon.runtime.whatif.testing import Traced

Spans = list[SpanRecord]


@pytest.fixture
def recorded(traced: "type[Traced]") -> list[Spans]:
    """Six runs, ten seconds apart: a search of 200 ms, a draft of the big model in 300 ms (100 + 20 tokens), a review
    of 500 ms of which its model takes 400 ms, and ten ms of thought before each and at the end."""
    return [_run(traced, number) for number in range(1, 7)]


def _run(traced: "type[Traced]", number: int, **search: Any) -> Spans:
    trace = traced(number)
    writer = trace.ask(None, "writer.write", 0, 1040, antiphon__tenant="t")
    trace.tool(writer, "search", 10, 210, **{"content": f"query {number % 2}", **search})
    trace.model(writer, 220, 520, model="big", antiphon__cost_usd=0.03)
    critic = trace.ask(writer, "critic.review", 530, 1030, capacity=2)
    trace.model(critic, 580, 980, model="big")
    return trace.spans


def ask(runs: Sequence[Spans], *, samples: Sequence[Trace] = (), **flags: Any) -> Answer:
    """The answer with fixed chance."""
    return answer(parse(**flags), assemble(runs), samples, random.Random(1))


def row(found: Answer, name: str) -> Row:
    """One of its rows."""
    return next(each for each in found.rows if each.name == name)


def saved_ms(found: Answer) -> float:
    """Mean latency saved."""
    return round(row(found, "latency, mean").saving.point * 1e3, 3)


def test_a_faster_model_saves_its_share(recorded: list[Spans]) -> None:
    """Both calls take half; tokens and cost stay; the interval of equal runs is a point."""
    found = ask(recorded, scale=["model:big=0.5"])
    assert saved_ms(found) == 350
    assert (row(found, "latency, p95").before, row(found, "latency, p95").after) == pytest.approx((1.04, 0.69))
    assert row(found, "model time a run").after == pytest.approx(0.35)
    assert row(found, "tokens a run").before == row(found, "tokens a run").after == 240
    assert row(found, "cost a run").saving.point == 0
    assert (found.runs, found.fidelity, found.left_out) == (6, 0.0, {})


def test_a_model_is_also_named_by_the_agent_that_calls_it(recorded: list[Spans]) -> None:
    """``model:critic``: only the critic's calls."""
    assert saved_ms(ask(recorded, scale=["model:critic=0.5"])) == 200


def test_an_agent_is_its_own_time(recorded: list[Spans]) -> None:
    """A critic twice as slow: 100 ms of its own become 200 ms; its model calls stay."""
    assert saved_ms(ask(recorded, scale=["agent:critic=2"])) == -100


def test_removed_work_goes_with_its_tokens_and_one_thought(recorded: list[Spans]) -> None:
    """The review, 500 ms and 10 ms of thought, 120 tokens, 400 ms of model time."""
    found = ask(recorded, remove=["agent:critic"])
    assert saved_ms(found) == 510
    assert row(found, "tokens a run").saving.point == 120
    assert row(found, "model time a run").saving.point == pytest.approx(0.4)
    assert saved_ms(ask(recorded, remove=["tool:search"])) == 210
    assert any("go on as recorded" in text for text in found.assumptions)


def test_dropped_work_is_waited_for_by_nobody(traced: "type[Traced]") -> None:
    """Of two branches the shorter one decides."""
    runs = []
    for number in range(1, 6):
        trace = traced(number)
        root = trace.ask(None, "a.b", 0, 400)
        trace.tool(root, "fast", 0, 100)
        trace.tool(root, "slow", 0, 390)
        runs.append(trace.spans)
    assert saved_ms(ask(runs, drop=["tool:slow"])) == 290


def test_equal_calls_share_one_result_across_runs(recorded: list[Spans]) -> None:
    """Two queries in six runs, 20 s apart: four searches are answered at once; none at an age of 15 s; at one of 20 s
    the third time is too late for the first result."""
    assert saved_ms(ask(recorded, dedupe=["tool:search"])) == pytest.approx(200 * 4 / 6, abs=0.01)
    assert saved_ms(ask(recorded, dedupe=["tool:search=15s"])) == 0
    assert saved_ms(ask(recorded, dedupe=["tool:search=20s"])) == pytest.approx(200 * 2 / 6, abs=0.01)


def test_unhashed_calls_cannot_be_shared(traced: "type[Traced]") -> None:
    """Nothing says which are equal, and that is said."""
    with pytest.raises(Unanswerable, match="hash of its input"):
        ask([_run(traced, 1, content=None)], dedupe=["tool:search"])


def test_more_slots_shorten_the_queue(traced: "type[Traced]") -> None:
    """Three runs at once through one slot of 100 ms: waits of 0, 100 and 200 ms go."""
    runs = []
    for number in range(3):
        trace = traced(number + 1, at_ms=0.0)
        root = trace.ask(None, "a.b", 0, 100 * (number + 1))
        trace.ask(root, "c.d", 0, 100 * (number + 1), wait_ms=100 * number, capacity=1)
        runs.append(trace.spans)
    found = ask(runs, pool=["agent:c=3"])
    assert saved_ms(found) == 100
    assert found.before_s == (0.1, 0.2, 0.3)
    assert found.after_s == pytest.approx((0.1, 0.1, 0.1))
    assert saved_ms(ask(runs, pool=["c=2"])) == pytest.approx(200 / 3, abs=0.01)
    assert saved_ms(ask(runs, pool=["agent:c@n1=1"])) == 0


def test_a_hedge_cuts_stragglers_and_costs_attempts(traced: "type[Traced]") -> None:
    """One search in ten takes 2 s; a second attempt after 300 ms takes what a search takes."""
    runs = []
    for number in range(1, 21):
        trace = traced(number)
        took = 2_000 if number % 10 == 0 else 200
        root = trace.ask(None, "a.b", 0, took)
        trace.tool(root, "search", 0, took)
        runs.append(trace.spans)
    found = ask(runs, hedge=["tool:search=300ms"])
    assert row(found, "latency, p95").saving.point > 0
    assert 0 < saved_ms(found) <= 150
    assert any("second attempt" in text for text in found.assumptions)


def test_another_model_takes_what_its_law_says(traced: "type[Traced]", recorded: list[Spans]) -> None:
    """Calls of 100 + 20 tokens go where 0.2 ms an input and 4 ms an output token are taken, at another price."""
    other = []
    for number in range(1, 21):
        trace = traced(100 + number)
        tokens, output = 40 * number, 5 * (number % 7) + 1
        took = 10 + 0.2 * tokens + 4 * output
        root = trace.ask(None, "clerk.sort", 0, took)
        trace.model(
            root, 0, took, model="small", tokens=tokens, output=output, antiphon__cost_usd=(tokens + output) * 1e-6
        )
        other.append(trace.spans)
    found = ask([*recorded, *other], swap=["model:writer=small"])
    alone = ask(recorded, samples=[p.trace for p in assemble(other).played], swap=["model:writer=small"])
    assert saved_ms(alone) == pytest.approx(300 - 10 - 20 - 80, abs=1)
    assert row(alone, "cost a run").after == pytest.approx(120e-6)
    assert saved_ms(found) == pytest.approx(190 * 6 / 26, abs=1)
    assert any("small takes" in text for text in alone.assumptions)
    with pytest.raises(Unanswerable, match="0 calls of model 'small'"):
        ask(recorded, swap=["model:big=small"])


@pytest.mark.parametrize(
    ("flag", "text", "there"),
    [
        ("scale", "model:x=2", "big"),
        ("remove", "tool:x", "search"),
        ("drop", "agent:x", "critic, critic.review, writer"),
        ("pool", "x=2", "agent:critic@n1"),
    ],
)
def test_what_was_never_used_is_said_with_what_was(recorded: list[Spans], flag: str, text: str, there: str) -> None:
    """The error names what there is."""
    unknown: dict[str, Any] = {flag: [text]}
    with pytest.raises(Unanswerable, match=there):
        ask(recorded, **unknown)


def checks(traced: "type[Traced]", number: int, width: int | None = 1) -> Spans:
    """Three registers of 200 ms one after the other, as ``ctx.each`` without a policy asks them, then 50 ms."""
    trace = traced(number)
    clerk = trace.ask(None, "clerk.refund", 0, 650)
    for place, name in enumerate(("orders", "payments", "parcels")):
        begin = place * 200
        trace.tool(clerk, name, begin, begin + 200, antiphon__group="1", antiphon__group__width=width)
    trace.tool(clerk, "note", 600, 650)
    return trace.spans


@pytest.mark.parametrize(("text", "saves"), [("agent:clerk", 400), ("agent:clerk.refund", 400), ("agent:clerk=2", 200)])
def test_declared_steps_run_together(traced: "type[Traced]", text: str, saves: int) -> None:
    """All of them, or so many at once; what followed them waits for all."""
    assert saved_ms(ask([checks(traced, 1), checks(traced, 2)], parallelise=[text])) == saves


@pytest.mark.parametrize("width", [None, 2])
def test_steps_that_are_not_declared_or_ran_together_stay(traced: "type[Traced]", width: int | None) -> None:
    """Nothing says that they may move, or nothing would change."""
    with pytest.raises(Unanswerable, match=r"ctx\.each"):
        ask([checks(traced, 1, width)], parallelise=["agent:clerk"])


def test_one_flight_shares_only_what_is_under_way(traced: "type[Traced]") -> None:
    """Of three equal calls the second begins while the first runs and ends with it; the third begins later."""
    runs = []
    for number, at_ms in enumerate((0.0, 100.0, 5_000.0), 1):
        trace = traced(number, at_ms=at_ms)
        root = trace.ask(None, "a.b", 0, 400)
        trace.tool(root, "search", 0, 400, content="same")
        runs.append(trace.spans)
    assert ask(runs, single_flight=["tool:search"]).before_s == pytest.approx((0.4, 0.4, 0.4))
    assert sorted(ask(runs, single_flight=["tool:search"]).after_s) == pytest.approx([0.3, 0.4, 0.4])
    assert sorted(ask(runs, dedupe=["tool:search=60s"]).after_s) == pytest.approx([0, 0.3, 0.4])


def test_whoever_had_least_goes_first(traced: "type[Traced]") -> None:
    """Two long runs take turns at one slot, 20 s each; a short one that comes at 45 s is served at 60 s, not 80."""

    def calls(number: int, at_s: int, *waits_and_ends: tuple[int, int]) -> Spans:
        trace = traced(number, at_ms=at_s * 1e3)
        root = trace.ask(None, "a.b", 0, waits_and_ends[-1][1] * 1e3)
        begin = 0
        for wait, end in waits_and_ends:
            facts: dict[str, Any] = {"antiphon.model.queue_s": float(wait), "antiphon.pool.capacity": 1}
            trace.model(root, begin * 1e3, end * 1e3, **facts)
            begin = end
        return trace.spans

    runs = [calls(1, 0, (0, 20), (20, 60)), calls(2, 0, (20, 40), (20, 80)), calls(3, 45, (35, 40))]
    found = ask(runs, least_attained=["model:m"])
    assert found.before_s == pytest.approx((60, 80, 40))
    assert found.after_s == pytest.approx((60, 85, 20))
    with pytest.raises(Unanswerable, match="there are agent:a@n1, model m"):
        ask(runs, least_attained=["model:other"])


def test_the_run_itself_cannot_be_removed(recorded: list[Spans]) -> None:
    """Nothing would be left to ask about."""
    with pytest.raises(Unanswerable, match="asked for"):
        ask(recorded, remove=["agent:writer"])


def test_runs_that_would_block_one_another_are_an_error(traced: "type[Traced]") -> None:
    """Nested work in a pool that is made too small for it."""
    trace = traced(1)
    outer = trace.ask(None, "a.b", 0, 100)
    trace.ask(outer, "a.c", 10, 90)
    with pytest.raises(Unanswerable, match="block one another"):
        ask([trace.spans], pool=["agent:a=1"])


def test_load_that_changes_changes_durations(traced: "type[Traced]") -> None:
    """A batch of two decodes half as slow again: where one of two calls goes, the other one gets faster, too."""
    runs = []
    for number in range(1, 17):
        trace = traced(number)
        together = number % 2 == 0
        took = (10 + number) * (15 if together else 10)
        root = trace.ask(None, "a.b", 0, took)
        for agent in ("c", "d")[: 2 if together else 1]:
            part = trace.ask(root, f"{agent}.e", 0, took)
            trace.model(part, 0, took, tokens=1, output=10 + number, antiphon__pool__active=1 + together)
        runs.append(trace.spans)
    found = ask(runs, remove=["agent:d"])
    expected = sum((10 + n) * 5 for n in range(2, 17, 2)) / 16
    assert saved_ms(found) == pytest.approx(expected, rel=0.02)


def test_unusable_runs_are_counted_and_named(
    traced: "type[Traced]", recorded: list[Spans], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run without spans, one in a circle, one unfinished, too long ones; and it is said when none is left."""
    monkeypatch.setattr(ensemble, "MAX_RUN_SPANS", 40)
    monkeypatch.setattr(ensemble, "MAX_SPANS", 48)
    circle, unfinished, long = traced(20), traced(21), traced(22)
    first, second = (circle.add(None, name, 0, 1) for name in "xy")
    first.parent_id, second.parent_id = second.span_id, first.span_id
    unfinished.ask(None, "a.b", 0, 10).end_ns = 0
    root = long.ask(None, "a.b", 0, 10)
    for _ in range(40):
        long.tool(root, "t", 0, 1)
    odd = [[], circle.spans, unfinished.spans, long.spans]
    found = assemble([*recorded, *odd, recorded[0]], {"ended as error": 2})
    assert found.left_out == {
        "ended as error": 2,
        "no span is the first": 2,
        "spans that never ended": 1,
        "more than 40 spans": 1,
        "more than 48 spans with the runs before": 1,
    }
    with pytest.raises(Unanswerable, match="1: spans that never ended"):
        assemble([unfinished.spans])
    with pytest.raises(Unanswerable, match="none was found"):
        assemble([])


def test_hostile_attributes_do_no_harm(recorded: list[Spans]) -> None:
    """Wrong types, giant texts and numbers: the run is answered for, or left out."""
    hostile = ["x" * 1_000_000, 10**400, float("nan"), float("inf"), -(2**62), 2**63, [], {"a": 1}, None, True, 1e308]
    for number, value in enumerate(hostile):
        span = recorded[number % 6][number % len(recorded[0])]
        for key in list(span.attributes):
            if key not in ("antiphon.operation", "antiphon.agent"):
                span.attributes[key] = value
        span.attributes["antiphon.pool.capacity"] = value
        span.attributes["antiphon.model.queue_s"] = value
    found = ask(recorded, scale=["agent:writer=0.5"])
    assert all(math.isfinite(row.saving.point) for row in found.rows)
    assert found.runs + sum(found.left_out.values()) == 6
