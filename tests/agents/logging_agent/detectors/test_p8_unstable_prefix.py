"""P8 fires where something volatile stands before long stable content, and nowhere else."""

from typing import TYPE_CHECKING, Any

import pytest

from antiphon.schemas.finding import FindingState, Grade

if TYPE_CHECKING:
    from tests.agents.logging_agent.conftest import Look
    from tests.agents.logging_agent.detectors.conftest import Nested

    from antiphon.runtime.whatif.testing import Traced


def runs(
    traced: "type[Traced]", count: int, *, tokens: int = 2_000, volatile: bool = True, **others: Any
) -> "list[Traced]":
    """Runs of one model call each: 100 bytes of date, 1,700 of tools, 200 of question; prefill 1 ms a token."""
    found = []
    for number in range(1, count + 1):
        trace = traced(number)
        service_ms = tokens + 100 * (number % 5) + 200  # the tokens vary a little, or no slope could be fitted
        root = trace.ask(None, "helper.help", 0, service_ms + 100)
        segments = [
            f"date:100:{number if volatile else 0}",
            "tools:1700:same",
            f"user:200:{number}",
        ]
        blocks = [f"{number if volatile else 0}-{i}" for i in range(tokens // 256)]
        attributes: dict[str, Any] = {
            "antiphon.prompt.segments": segments,
            "antiphon.prompt.block_hashes": blocks,
            "antiphon.model.prefill_s": (tokens + 100 * (number % 5)) / 1_000,
            "antiphon.model.decode_s": 0.2,
        }
        attributes.update({key.replace("__", "."): value for key, value in others.items()})
        trace.model(root, 50, 50 + service_ms, tokens=tokens + 100 * (number % 5), **attributes)
        found.append(trace)
    return found


def test_a_date_before_the_tools_is_found(traced: "type[Traced]", look: "Look") -> None:
    """Twenty diverging calls open a finding that names the segment and what it keeps from the cache."""
    finding = look(runs(traced, 30)).one("p8")
    assert finding.state is FindingState.OPEN
    assert finding.grade is Grade.B
    assert finding.support_unit == "calls"
    assert finding.required == 20
    assert finding.subject == "helper.help"
    assert "'date'" in finding.remedy.text
    assert finding.saving is not None and finding.saving.tokens is not None
    assert 1_536 <= finding.saving.tokens.point <= 2_048
    assert finding.saving.latency_s is not None
    assert finding.saving.latency_s.point == pytest.approx(finding.saving.tokens.point / 1_000, rel=0.1)


@pytest.mark.parametrize(("count", "support"), [(4, 4), (5, 39)])
def test_many_calls_of_few_runs_are_a_candidate(
    traced: "type[Traced]", look: "Look", nested: "Nested", count: int, support: int
) -> None:
    """Eight calls a run: 31 of four runs say how those went, and not how runs go."""
    finding = look(nested(runs(traced, 8 * count), 8)).one("p8")
    assert finding.state is (FindingState.OPEN if support > 20 else FindingState.CANDIDATE)
    assert finding.support == support


def test_nineteen_calls_are_a_candidate_without_a_saving(traced: "type[Traced]", look: "Look") -> None:
    """The first call has nothing to differ from; below twenty that do, nothing is claimed."""
    finding = look(runs(traced, 20)).one("p8")
    assert finding.state is FindingState.CANDIDATE
    assert (finding.support, finding.required) == (19, 20)
    assert finding.saving is None


def test_per_block_hashes_alone_are_enough(traced: "type[Traced]", look: "Look") -> None:
    """Without segments, equal later blocks show the shared content."""
    found = runs(traced, 30, antiphon__prompt__segments=None)
    for number, trace in enumerate(found):
        call = trace.spans[-1]
        call.attributes["antiphon.prompt.block_hashes"] = [f"date{number}", *"abcdef"]
    finding = look(found).one("p8")
    assert finding.saving is not None and finding.saving.tokens is not None
    assert finding.saving.tokens.point == 1_536


def test_without_prefill_times_the_whole_call_tells(traced: "type[Traced]", look: "Look") -> None:
    """The law of an instance that reports no split rests on how long whole calls took."""
    finding = look(runs(traced, 30, antiphon__model__prefill_s=None)).one("p8")
    assert finding.saving is not None and finding.saving.tokens is not None and finding.saving.latency_s is not None
    assert finding.saving.latency_s.point == pytest.approx(finding.saving.tokens.point / 1_000, rel=0.1)


def test_prompts_of_one_length_take_most_of_prefill_for_tokens(traced: "type[Traced]", look: "Look") -> None:
    """They do not tell what prefill takes without tokens: 1,536 of 2,000 are shared, so 77 % of 88 % of 2.2 s."""
    finding = look(runs(traced, 30, gen_ai__usage__input_tokens=2_000)).one("p8")
    assert finding.saving is not None and finding.saving.tokens is not None and finding.saving.latency_s is not None
    assert finding.saving.latency_s.point == pytest.approx(0.88 * 2.2 * finding.saving.tokens.point / 2_000)
    assert any("one length" in assumption for assumption in finding.assumptions)


def test_a_prompt_below_1024_tokens_is_left_alone(traced: "type[Traced]", look: "Look") -> None:
    """Short prompts are not cached, so nothing is lost."""
    assert look(runs(traced, 40, tokens=600)).of("p8") == []


def test_a_stable_prefix_is_left_alone(traced: "type[Traced]", look: "Look") -> None:
    """A question that changes at the end is how prompts should be."""
    assert look(runs(traced, 40, volatile=False)).of("p8") == []


def test_prompts_without_common_content_are_left_alone(traced: "type[Traced]", look: "Look") -> None:
    """Other documents are other work."""
    found = runs(traced, 40)
    for number, trace in enumerate(found):
        trace.spans[-1].attributes["antiphon.prompt.segments"] = [f"date:100:{number}", f"docs:1900:{number}"]
    assert look(found).of("p8") == []


def test_a_restart_is_not_drift(traced: "type[Traced]", look: "Look") -> None:
    """A new prompt version at every restart misses once each; the calls between hit."""
    found = runs(traced, 60)
    for number, trace in enumerate(found):
        version = number // 15
        trace.spans[-1].attributes["antiphon.prompt.segments"] = [
            f"date:100:{version}",
            "tools:1700:same",
            f"user:200:{number}",
        ]
        trace.spans[-1].attributes["antiphon.prompt.block_hashes"] = [f"{version}-{i}" for i in range(7)]
    assert all(f.state is FindingState.CANDIDATE for f in look(found).of("p8"))


def test_alternating_templates_are_left_alone(traced: "type[Traced]", look: "Look") -> None:
    """Two prompts of one handler that take turns each keep their own prefix."""
    found = runs(traced, 40)
    for number, trace in enumerate(found):
        trace.spans[-1].attributes["antiphon.prompt.segments"] = [f"role:100:{number % 2}", "docs:1900:same"]
        trace.spans[-1].attributes["antiphon.prompt.block_hashes"] = [f"{number % 2}-{i}" for i in range(7)]
    assert all(f.state is FindingState.CANDIDATE for f in look(found).of("p8"))


def test_what_the_cache_served_anyway_is_not_claimed(traced: "type[Traced]", look: "Look") -> None:
    """An instance that reports a full hit has nothing to gain."""
    assert look(runs(traced, 40, gen_ai__usage__cache_read__input_tokens=2_400)).of("p8") == []
