"""Another model answers, and nothing else changes."""

import asyncio

import structlog
from tests.runtime.policies.desk import MODEL, OTHER, Desk, Steps, policy_of

from antiphon import Agent, Context, Message, System
from antiphon.runtime.models.scripted import Scripted, ScriptedModel
from antiphon.runtime.policies.aside import AT_ONCE
from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.testing import memory_system, virtual_time
from antiphon.schemas.policy import Level, Route
from antiphon.schemas.task import Token

TO_OTHER = policy_of(Route(model=OTHER), f"model {MODEL}")
SHADOW = policy_of(Route(model=OTHER), f"model {MODEL}", level=Level.SHADOW)


@virtual_time()
async def test_the_other_model_answers() -> None:
    """The span still says which one was asked for, so that both arms are told apart by nothing but the policy."""
    async with Desk().open(TO_OTHER) as desk:
        assert await desk.run("model hi") == ("other says hello",)
    assert (desk.runs["small"], desk.runs["other"]) == (0, 1)
    assert desk.attribute("model", names.GENAI_REQUEST_MODEL) == [MODEL]


async def test_tools_and_output_schema_go_along() -> None:
    """The request differs in its model alone."""

    class Verdict(Message):
        good: bool

    judge, requests = Agent("judge"), []

    @judge.handles
    async def say(message: Steps, ctx: Context) -> Verdict:
        return await ctx.model.generate(Verdict, "good?", system="Judge.", max_tokens=7)

    for policies in ((), (TO_OTHER,)):
        models = {name: ScriptedModel([Verdict(good=True)]) for name in (MODEL, OTHER)}
        async with memory_system(System("s", agents=[judge], policies=policies), models=models) as client:
            assert (await client.ask(say, Steps(steps=()))).good
        (request,) = [request for model in models.values() for request in model.requests]
        requests.append(request)
    plain, routed = [request.model_copy(update={"run": None, "deadline_unix_ms": None}) for request in requests]
    assert routed.output is not None
    assert routed == plain.model_copy(update={"model": OTHER})


@virtual_time()
async def test_a_model_nobody_knows_changes_nothing_and_is_said_once() -> None:
    """A node may have other settings than the one where the policy was made."""
    with structlog.testing.capture_logs() as said:
        async with Desk().open(policy_of(Route(model="gone"), f"model {MODEL}")) as desk:
            assert await desk.run("model hi", "model ho") == ("small says hello",) * 2
    assert [line["model"] for line in said if line["event"] == "policy_model_unknown"] == ["gone"]


@virtual_time()
async def test_shadow_asks_the_other_after_the_served_reply() -> None:
    """The run is not delayed, not charged, and the comparison stands on a linked span of its own."""
    desk = Desk()
    desk.models[OTHER] = ScriptedModel(lambda request: Scripted(text="small says hello"), token_s=2.0)
    loop = asyncio.get_running_loop()
    async with desk.open(SHADOW):
        began_s = loop.time()
        reply = await desk.client.ask(desk.do, Steps(steps=("model hi",)), budget={"steps": 1, "tokens": 300})
        assert reply.said == ("small says hello",) and loop.time() - began_s < 1
        await asyncio.sleep(20)
    (shadow,) = [span for span in desk.spans if names.SHADOW_EQUAL in span.attributes]
    served = next(span for span in desk.spans if span.attributes.get(names.OPERATION) == "model" and span.end_ns)
    assert shadow.attributes[names.SHADOW_EQUAL] is True
    assert shadow.attributes[names.POLICY_ARM] == served.attributes[names.POLICY_ARM] == ["p=shadow"]
    assert [link.span_id for link in shadow.links] == [served.span_id]
    assert shadow.trace_id != served.trace_id  # so that it counts as no part of the run
    assert shadow.attributes[names.RUN] == served.attributes[names.RUN]


@virtual_time()
async def test_a_shadow_is_shown_to_nobody() -> None:
    """Who listens hears the served reply alone."""
    agent = Agent("teller")

    @agent.handles
    async def tell(message: Steps, ctx: Context) -> Steps:
        text = await ctx.model.generate(str, "tell", emit=True)
        await ctx.sleep(1)
        return Steps(steps=(text,))

    models = {name: ScriptedModel([Scripted(text=name)]) for name in (MODEL, OTHER)}
    async with memory_system(System("s", agents=[agent], policies=[SHADOW]), models=models) as client:
        seen = [item async for item in client.stream(tell, Steps(steps=()))]
    assert "".join(item.text for item in seen if isinstance(item, Token)) == MODEL
    assert len(models[OTHER].requests) == 1


@virtual_time()
async def test_a_shadow_that_fails_is_not_equal() -> None:
    """It would have been no answer."""
    desk = Desk()
    desk.models[OTHER] = ScriptedModel([])
    async with desk.open(SHADOW):
        assert await desk.run("model hi") == ("small says hello",)
        await asyncio.sleep(1)
    (shadow,) = [span for span in desk.spans if names.SHADOW_EQUAL in span.attributes]
    assert shadow.attributes[names.SHADOW_EQUAL] is False
    assert shadow.attributes[names.ERROR_TYPE] == "ModelError"


@virtual_time()
async def test_shadows_are_few_at_a_time_and_end_with_the_process() -> None:
    """A slow model cannot heap up calls, nor hold up a drain."""
    desk = Desk()
    slow = desk.models[OTHER] = ScriptedModel(lambda request: Scripted(text="slow"), token_s=1000.0)
    loop = asyncio.get_running_loop()
    async with desk.open(SHADOW):
        await desk.together(*[["model hi"]] * (2 * AT_ONCE))
        await asyncio.sleep(1)
        assert slow.active == AT_ONCE
        began_s = loop.time()
    assert loop.time() - began_s < 5
    assert slow.active == 0
