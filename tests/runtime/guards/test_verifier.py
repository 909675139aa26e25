"""What a verifier is asked, and how its answer is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.errors import ConfigurationError, InvalidOutput
from antiphon.runtime.guards.verifier import Verdict, again, judgement, verdict_of, verified_by
from antiphon.schemas.inference import Finish, FinishReason, Reply, Role, Usage, turn

VERIFIER = verified_by("judge", "Does it cite a source?")
FINISH = Finish(reason=FinishReason.STOP, usage=Usage())


def test_it_is_shown_the_question_the_last_user_turn_and_the_answer() -> None:
    """Not the system turn, nor what was said before."""
    conversation = [turn(Role.SYSTEM, "be brief"), turn(Role.USER, "hi"), turn(Role.ASSISTANT, "hello")]
    system, user = judgement("Good?", [*conversation, turn(Role.USER, "why?")], "because")
    assert "Good?" in system.text
    assert user.text == "It was asked:\nwhy?\n\nIt answered:\nbecause"
    told_again = again((*conversation, turn(Role.USER, "why?")), "so", "too short")
    assert judgement("Good?", told_again, "because")[1] == user
    assert judgement("Good?", (), "because")[1].text == "It was asked:\n\n\nIt answered:\nbecause"


def test_after_a_no_roles_alternate() -> None:
    """The answer, and why it will not do."""
    turns = again((turn(Role.USER, "why?"),), "because", "too short")
    assert [each.role for each in turns] == [Role.USER, Role.ASSISTANT, Role.USER]
    assert "too short" in turns[-1].text


@given(accepted=st.booleans(), reason=st.text(), cut=st.integers(0, 200))
def test_a_verdict_that_was_cut_in_its_reason_is_one(accepted: bool, reason: str, cut: int) -> None:
    """What matters comes first. Whatever the cut, it is the verdict that was meant or none."""
    whole = Verdict(accepted=accepted, reason=reason).model_dump_json()
    try:
        verdict = verdict_of(VERIFIER, Reply(text=whole[:cut], finish=FINISH))
    except InvalidOutput:
        assert cut < len(whole)
        return
    assert verdict.accepted is accepted
    assert reason.startswith(verdict.reason)


@pytest.mark.parametrize("text", ["", "yes", "[]", "{}", '{"accepted": "perhaps", "reason": ""}', '{"accepted": tr'])
def test_anything_else_is_no_verdict(text: str) -> None:
    """And so nothing passes."""
    with pytest.raises(InvalidOutput, match="verifier judge: expected a verdict, the reply is none"):
        verdict_of(VERIFIER, Reply(text=text, finish=FINISH))


def test_retries_are_a_number() -> None:
    """0 is: refuse at the first no."""
    assert verified_by("judge", "Good?", retries=0).retries == 0
    with pytest.raises(ConfigurationError, match="retries is -1, expected 0 or more"):
        verified_by("judge", "Good?", retries=-1)
