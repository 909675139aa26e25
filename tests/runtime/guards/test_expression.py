"""Regular expressions: one that must be there, one that must not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.errors import ConfigurationError, Refused
from antiphon.runtime.guards import Guard, Moment, Stage, forbids, matches
from antiphon.runtime.policies.chain import Scope

JSON = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


async def passes(guard: Guard, value: Any, *, is_answer: bool = True) -> bool:
    """Whether the guard lets the value through, as it is."""
    moment = Moment(stage=Stage.MODEL_OUTPUT, target="m", scope=Scope(tenant="default", run="r"), is_answer=is_answer)
    try:
        assert await guard.check(value, moment) == value
    except Refused:
        return False
    return True


@given(JSON)
async def test_one_forbids_exactly_what_the_other_wants(value: Any) -> None:
    """Whatever the value: some text in it matches or none does."""
    assert await passes(matches("a", "model.output"), value) is not await passes(forbids("a", "model.output"), value)


async def test_the_pattern_may_be_anywhere_in_any_text() -> None:
    """Keys are not looked at."""
    assert await passes(matches("two", "model.output"), {"k": ["one", "one two three"]})
    assert not await passes(matches("^k$", "model.output"), {"k": ["one"]})


async def test_a_reply_that_is_no_answer_yet_need_not_match_but_may_not_say_what_is_forbidden() -> None:
    """The model asks for tools first."""
    assert await passes(matches("Sources:", "model.output"), "let me look", is_answer=False)
    assert not await passes(forbids("look", "model.output"), "let me look", is_answer=False)


async def test_the_reason_has_the_pattern_and_not_the_content() -> None:
    """Reasons go into spans and errors."""
    moment = Moment(stage=Stage.MODEL_OUTPUT, target="m", scope=Scope(tenant="default", run="r"))
    with pytest.raises(Refused) as caught:
        await forbids(r"sk-\w+", "model.output").check("the key is sk-123", moment)
    assert caught.value.message == r"something in it matches 'sk-\\w+'"


@pytest.mark.parametrize("make", [matches, forbids])
def test_a_pattern_that_is_none_is_refused_at_once(make: Any) -> None:
    """When the agent is defined, not when it runs."""
    with pytest.raises(ConfigurationError, match="is no regular expression: missing"):
        make("(", "model.output")
