"""Routers: a label, a flow, and what happens to labels without one."""

import pytest

from antiphon import Agent, Context, Message, System
from antiphon.runtime.errors import ConfigurationError, HandlerFailed, InvalidOutput
from antiphon.runtime.models.scripted import ScriptedModel
from antiphon.runtime.patterns.router import NONE, Router
from antiphon.runtime.testing import memory_system


class Mail(Message):
    text: str


class Answer(Message):
    by: str


desks = Agent("desks")


@desks.handles
async def billing(message: Mail, ctx: Context) -> Answer:
    """Invoices and refunds.

    More that the model is not told.
    """
    return Answer(by="billing")


@desks.handles
async def repair(message: Mail, ctx: Context) -> Answer:
    """Things that do not work."""
    return Answer(by="repair")


@desks.handles
async def anything(message: Mail, ctx: Context) -> Answer:
    """The rest."""
    return Answer(by="anything")


def front(router: Router[Mail, Answer], *, label: str = "") -> Agent:
    """An agent that sends to ``label``, or to what its model says."""
    agent = Agent("front", model="m", max_attempts=1)

    @agent.handles
    async def take(message: Mail, ctx: Context) -> Answer:
        return await router.send(ctx, label or await router.classify(ctx, message.text), message)

    return agent


async def answered(agent: Agent, *said: str) -> tuple[Answer, ScriptedModel]:
    """What came back, and the model that was asked."""
    model = ScriptedModel(said)
    async with memory_system(System("s", agents=[agent, desks]), models={"m": model}) as client:
        task = await client.submit(agent.handlers["take"], Mail(text="my invoice is wrong"))
        return await task.result(timeout_s=60), model


async def test_the_model_chooses_among_the_labels_and_is_told_what_they_mean() -> None:
    """Its output is constrained to them; descriptions are the handlers' own."""
    answer, model = await answered(front(Router({"money": billing, "broken": repair})), '{"label": "money"}')
    assert answer.by == "billing"
    request = model.requests[0]
    assert request.output is not None
    assert request.output.json_schema["properties"]["label"]["enum"] == ["money", "broken"]
    assert request.conversation[0].text.splitlines()[1:] == [
        "- money: Invoices and refunds.",
        "- broken: Things that do not work.",
    ]


@pytest.mark.parametrize("said", [f'{{"label": "{NONE}"}}', "I cannot say"])
async def test_what_fits_nowhere_goes_to_the_fallback(said: str) -> None:
    """The model says so, or says nothing that can be read."""
    answer, model = await answered(front(Router({"money": billing}, fallback=anything)), said)
    assert answer.by == "anything"
    assert model.requests[0].conversation[0].text.endswith(f"- {NONE}: anything else")


async def test_without_fallback_an_answer_that_is_no_label_is_an_error() -> None:
    """As for every constrained output."""
    with pytest.raises(InvalidOutput):
        await answered(front(Router({"money": billing})), "I cannot say")


async def test_a_rule_may_say_the_label() -> None:
    """No model is needed."""
    answer, model = await answered(front(Router({"money": billing, "broken": repair}), label="broken"))
    assert answer.by == "repair"
    assert not model.requests


async def test_an_unknown_label_is_named() -> None:
    """With the labels there are."""
    with pytest.raises(Exception, match=r"no route for label 'fame' \(there are: money, broken\)") as caught:
        await answered(front(Router({"money": billing, "broken": repair}), label="fame"))
    assert not isinstance(caught.value, HandlerFailed) or caught.value.details["type"] == "NoRoute"
    assert caught.value.details["label"] == "fame"  # type: ignore[attr-defined]  # of an AntiphonError


async def test_an_unknown_label_goes_to_the_fallback() -> None:
    """Where there is one."""
    answer, _ = await answered(front(Router({"money": billing}, fallback=anything), label="fame"))
    assert answer.by == "anything"


def test_a_router_without_routes_is_refused() -> None:
    """It could send nothing anywhere."""
    with pytest.raises(ConfigurationError, match="at least one"):
        Router({})
