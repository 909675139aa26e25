"""What makes a guard, and the guards of one agent."""

from typing import Any

import pytest

from antiphon import Agent
from antiphon.runtime.errors import ConfigurationError, Refused, from_info
from antiphon.runtime.guards import Moment, Stage, forbids, matches, redacts, verified_by
from antiphon.runtime.guards.guard import Guards
from antiphon.runtime.policies.chain import Scope

MOMENT = Moment(stage=Stage.MODEL_OUTPUT, target="m", scope=Scope(tenant="default", run="r"))


def test_an_agent_without_guards_has_none() -> None:
    """So that operations need not ask."""
    assert Agent("a").guards is None


@pytest.mark.parametrize(("stages", "says"), [((), r"\(\)"), (("model.outptu",), "model.outptu")])
def test_stages_that_do_not_exist_are_refused_when_the_agent_is_defined(stages: tuple[str, ...], says: str) -> None:
    """What was found, and which there are."""
    with pytest.raises(ConfigurationError, match=rf"guard 'forbids' has stages .*{says}.*expected .*model\.output"):
        Agent("a", guards=[forbids("x", *stages)])


def test_one_stage_as_a_text_is_a_mistake() -> None:
    """Each letter would be a stage."""

    class Own:
        name = "own"
        stages = "model.output"

        async def check(self, value: Any, moment: Moment) -> Any:
            return value

    with pytest.raises(ConfigurationError, match=r"guard 'own' has stages 'model\.output': expected one"):
        Agent("a", guards=[Own()])


async def test_each_guard_sees_what_the_one_before_it_made() -> None:
    """In the order in which they were given."""
    guards = Guards([redacts("model.output", by={"who": "ada"}), matches(r"\[who\]", "model.output")])
    assert await guards.check("ada", MOMENT) == "[who]"
    with pytest.raises(Refused):
        await Guards([matches(r"\[who\]", "model.output"), redacts("model.output")]).check("ada", MOMENT)


async def test_a_refusal_says_who_where_and_why_and_keeps_it_over_the_wire() -> None:
    """The message for people, details for programs; what a guard adds to its Refused stays."""

    class Own:
        name = "own"
        stages = ("model.output",)

        async def check(self, value: Any, moment: Moment) -> Any:
            raise Refused("too long", limit=10)

    with pytest.raises(Refused) as caught:
        await Guards([Own()]).check("ada", MOMENT)
    error = from_info(caught.value.info())
    assert type(error) is Refused
    assert error.message == "guard 'own' refused model.output of m: too long"
    assert error.details == {
        "guard": "own",
        "stage": "model.output",
        "target": "m",
        "reason": "too long",
        "limit": "10",
    }


async def test_only_those_of_a_stage() -> None:
    """Without verifiers: a verdict is not verified."""
    guards = Guards([forbids("x", "model.input"), forbids("x", "model.output"), verified_by("m", "Good?")])
    found = guards.only(Stage.MODEL_INPUT)
    assert found.verifiers == ()
    assert await found.check("x", MOMENT) == "x"
