"""Comparing two versions: a planted difference is found, and none where there is none."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from antiphon import Agent, Context, Message, System
from antiphon.runtime.errors import InvalidOutput, LoadError, Unanswerable
from antiphon.runtime.replay.compare import Comparison, Measured, Trial, Version, compare, summary
from antiphon.runtime.replay.counterfactual import Side
from antiphon.runtime.replay.dataset import Example, example_of
from antiphon.runtime.replay.outside import Outside
from antiphon.runtime.replay.recordings import Recordings
from antiphon.runtime.replay.scorers import exact, scorer_of
from antiphon.runtime.replay.usage import Used
from antiphon.runtime.settings import Settings
from antiphon.runtime.testing import ScriptedModel
from antiphon.runtime.tool import tool
from antiphon.schemas.inference import GenerateRequest


class Question(Message):
    text: str


class Answer(Message):
    text: str


def desk(done: list[str], *, breaks: bool = False) -> tuple[System, Any]:
    agent = Agent("desk", model="big")

    @tool(effect="write")
    async def keep(text: str, idempotency_key: str = "") -> str:
        """Write it down."""
        done.append(text)
        return "kept"

    agent.tools["keep"] = keep

    @agent.handles
    async def answer(message: Question, ctx: Context) -> Answer:
        text = await ctx.model.generate(str, message.text)
        if breaks and message.text == "b":
            raise ValueError("no b")
        return Answer(text=f"{text} {await ctx.tool(keep, text=text)}")

    return System("desk", [agent]), answer


def good(request: GenerateRequest) -> str:
    return request.conversation[-1].text.upper()


def bad(request: GenerateRequest) -> str:
    return good(request) + " and much more" if request.conversation[-1].text in "abcd" else good(request)


@pytest.fixture(scope="module")
def recorded(record: Any) -> tuple[list[Example], dict[str, Recordings]]:
    """Eight tasks of the desk with the good model."""
    system, answer = desk([])
    runs = [record(system, answer, Question(text=text), models={"big": ScriptedModel(good)}) for text in "abcdefgh"]
    examples = [example_of(run.root).model_copy(update={"run": str(n)}) for n, run in enumerate(runs)]
    return examples, {str(n): Recordings.of(run) for n, run in enumerate(runs)}


def compared(
    recorded: tuple[list[Example], dict[str, Recordings]],
    settings: Settings,
    *,
    second: dict[str, str],
    done: list[str] | None = None,
    other: System | None = None,
) -> Comparison:
    examples, recordings = recorded
    system, _ = desk(done if done is not None else [])
    with Outside(
        settings, {"big": ScriptedModel(good, token_s=0.002), "poor": ScriptedModel(bad, token_s=0.002)}
    ) as out:
        a = Version(name="a", system=system, settings=settings, outside=out, models={})
        b = Version(name="b", system=other or system, settings=settings, outside=out, models=second)
        return compare(a, b, examples, seeds=2, scorer=exact, recordings=lambda each: recordings[each.run])


def measured(found: Comparison, name: str) -> Measured:
    return next(each for each in found.measured if each.name == name)


def test_a_worse_model_is_found_and_nothing_is_written(
    recorded: tuple[list[Example], dict[str, Recordings]], settings: Settings
) -> None:
    """Half of the answers are wrong and longer; a write whose request is not on record has a stand-in."""
    done: list[str] = []
    found = compared(recorded, settings, second={"big": "poor"}, done=done)
    quality, tokens = measured(found, "quality"), measured(found, "tokens")
    assert (quality.first, quality.second, quality.difference) == (1.0, 0.5, -0.5)
    assert quality.high is not None and quality.high < 0
    assert tokens.difference == 1.5 and tokens.low is not None and tokens.low > 0
    assert found.failures == ({}, {})
    assert done == []


def test_the_same_version_does_not_differ(
    recorded: tuple[list[Example], dict[str, Recordings]], settings: Settings
) -> None:
    """Quality, tokens and cost exactly; latency within its interval or by what a thread takes to wake."""
    found = compared(recorded, settings, second={})
    for name in ("quality", "tokens"):
        each = measured(found, name)
        assert (each.difference, each.low, each.high) == (0.0, 0.0, 0.0)
    assert abs(measured(found, "latency, s").difference) < 0.05


def test_failures_are_counted_by_arm_and_leave_their_pair_out(
    recorded: tuple[list[Example], dict[str, Recordings]], settings: Settings
) -> None:
    """Both seeds of the one task that the second version cannot do."""
    found = compared(recorded, settings, second={}, other=desk([], breaks=True)[0])
    assert found.failures == ({}, {"ValueError: no b": 2})
    assert measured(found, "quality").examples == 7


def trial(quality: float) -> Trial:
    return Trial(side=Side(value=b"1", error="", took_s=1.0, used=Used()), quality=quality)


def test_no_difference_is_covered_about_as_often_as_the_interval_says() -> None:
    """Of 60 comparisons of equal arms on 20 examples, 0 lies in the 90 % interval of 46 at least, and not of all."""
    rng = random.Random(7)
    covered = 0
    for _ in range(60):
        pairs = [[(trial(rng.gauss(0.5, 0.2)), trial(rng.gauss(0.5, 0.2)))] for _ in range(20)]
        (quality,) = [each for each in summary(pairs) if each.name == "quality"]
        assert quality.low is not None and quality.high is not None
        covered += quality.low <= 0 <= quality.high
    assert 46 <= covered < 60


@hypothesis_settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=10))
def test_the_difference_is_second_minus_first_and_lies_in_its_interval(values: list[tuple[float, float]]) -> None:
    """Turning the arms around turns its sign."""
    pairs = [[(trial(a), trial(b))] for a, b in values]
    turned = [[(trial(b), trial(a))] for a, b in values]
    quality, other = summary(pairs)[0], summary(turned)[0]
    assert quality.difference == pytest.approx(-other.difference)
    assert quality.difference == pytest.approx(quality.second - quality.first, abs=1e-6)
    if quality.low is not None and quality.high is not None:
        assert quality.low <= quality.high


def test_nothing_to_compare_on_is_refused(settings: Settings) -> None:
    """With the reason."""
    with Outside(settings) as outside:
        arm = Version(name="a", system=desk([])[0], settings=settings, outside=outside, models={})
        with pytest.raises(Unanswerable, match="no tasks"):
            compare(arm, arm, [], seeds=1, scorer=exact, recordings=lambda _: Recordings(()))


def test_scorers_by_name(settings: Settings) -> None:
    """Exact, a function, and a model that says a number; others are refused."""
    example = Example(handler="desk.answer", input={"text": "a"}, result={"text": "A"})
    with Outside(settings, {"judge": ScriptedModel(["I give it 7 of 10", "none"])}) as outside:
        assert scorer_of("exact", outside)(example, {"text": "A"}) == 1.0
        assert scorer_of("exact", outside)(example, {"text": "B"}) == 0.0
        assert scorer_of("operator:countOf", outside) is not None
        judge = scorer_of("judge:judge", outside)
        assert judge(example, {"text": "A"}) == 0.7
        with pytest.raises(InvalidOutput, match="whole number from 0 to 10"):
            judge(example, {"text": "A"})
        for name in ("nothing", "no.such.module:f", "operator:nothing"):
            with pytest.raises(LoadError, match="scorer"):
                scorer_of(name, outside)
