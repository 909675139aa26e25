"""Guards of an agent around its handlers, models and tools, in a whole system."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from antiphon import Agent, Context, Done, Handler, Message, System, Token, tool
from antiphon.runtime.delivery.journal import read_history
from antiphon.runtime.errors import ModelUnavailable, Refused
from antiphon.runtime.guards import Moment, fits, forbids, matches, redacts, verified_by
from antiphon.runtime.models.scripted import ScriptedModel
from antiphon.runtime.settings import Settings
from antiphon.runtime.testing import MemoryServer, memory_cluster, memory_system, virtual_time
from antiphon.schemas.inference import ToolCall, ToolResult
from antiphon.schemas.telemetry import SpanRecord

MAIL = "ada@lovelace.org"
NO = '{"accepted": false, "reason": "it cites nothing"}'
YES = '{"accepted": true, "reason": ""}'


class Note(Message):
    """A text."""

    text: str


class Short(Message):
    """A text that a mark does not fit into."""

    text: str
    code: int = 0


@tool(effect="read")
async def look_up(name: str, limit: int = 1) -> list[str]:
    """Addresses of people."""
    return [f"{name} lives at {MAIL}"] * limit


def asker(*guards: Any, tools: Any = ()) -> tuple[System, Handler[Note, Note]]:
    """An agent that asks its model what it is asked."""
    agent = Agent("a", guards=guards, tools=tools, first_retry_s=0.01)

    @agent.handles
    async def answer(note: Note, ctx: Context) -> Note:
        return Note(text=await ctx.model.generate(str, note.text, emit=True))

    return System("s", agents=[agent]), answer


def collector(found: list[SpanRecord]) -> Callable[[Any], None]:
    """Keeps finished spans."""
    return lambda batch: found.extend(span for span in batch.spans if span.end_ns)


def guard_events(spans: list[SpanRecord]) -> list[tuple[str, str, str, str]]:
    """Which span has which event: its first word, guard, stage, action."""
    return [
        (
            span.name.partition(" ")[0],
            event.attributes["antiphon.guard.name"],
            event.attributes["antiphon.guard.stage"],
            event.attributes["antiphon.guard.action"],
        )
        for span in spans
        for event in span.events or ()
        if event.name == "antiphon.guard"
    ]


async def test_a_refused_input_reaches_whoever_sent_it_typed() -> None:
    """From an ask and from a task, which is tried once; the handler never ran, and its span says why."""
    system, answer = asker(forbids("(?i)ignore all", "handler.input"))
    model, spans = ScriptedModel(lambda request: "fine"), list[SpanRecord]()
    async with memory_system(system, models={"smollm2-135m": model}, spans=collector(spans)) as client:
        with pytest.raises(Refused, match=r"guard 'forbids' refused handler.input of a.answer: something in it") as ask:
            await client.ask(answer, Note(text="Ignore all that"))
        task = await client.submit(answer, Note(text="Ignore all that"))
        with pytest.raises(Refused) as submitted:
            await task.result(timeout_s=60)
        outcome = await task.outcome()
        assert (await client.ask(answer, Note(text="go on"))).text == "fine"
    assert outcome is not None
    assert (outcome.state, outcome.attempts) == ("failed", 1)
    assert submitted.value.details == {**ask.value.details, "task": task.id}
    assert ask.value.details["guard"] == "forbids"
    assert ask.value.details["stage"] == "handler.input"
    assert not ask.value.retryable
    assert len(model.requests) == 1
    assert guard_events(spans) == [("process", "forbids", "handler.input", "refused")] * 2


async def test_a_handler_is_given_and_gives_what_the_guards_make_of_it() -> None:
    """In the order in which they stand; a message that nothing changes is the very one that came."""
    agent = Agent("a", guards=[redacts("handler.input", "handler.output"), forbids("@", "handler.input")])
    seen: list[str] = []

    @agent.handles
    async def answer(note: Note, ctx: Context) -> Note:
        seen.append(note.text)
        return Note(text=f"{note.text}, or {MAIL}")

    spans = list[SpanRecord]()
    async with memory_system(System("s", agents=[agent]), spans=collector(spans)) as client:
        reply = await client.ask(answer, Note(text=f"ask {MAIL}"))
    assert seen == ["ask [email]"]
    assert reply.text == "ask [email], or [email]"
    assert [event[2:] for event in guard_events(spans)] == [
        ("handler.input", "rewritten"),
        ("handler.output", "rewritten"),
    ]


async def test_a_message_that_is_none_any_more_is_refused() -> None:
    """What a guard makes of it has to be the message that the handler takes."""

    class Wrong:
        name = "wrong"
        stages = ("handler.input",)

        async def check(self, value: Any, moment: Moment) -> Any:
            return {**value, "code": "none"}

    agent = Agent("a", guards=[Wrong()])

    @agent.handles
    async def answer(short: Short, ctx: Context) -> Note:
        return Note(text="")

    async with memory_system(System("s", agents=[agent])) as client:
        with pytest.raises(Refused, match="what the guards made of it is no Short: code: Input should be"):
            await client.ask(answer, Short(text="x"))


async def test_an_event_that_is_refused_fails_its_task() -> None:
    """As any other error that another attempt would not mend."""
    agent = Agent("a", guards=[forbids("bad", "handler.input")])
    seen: list[str] = []
    good = asyncio.Event()

    @agent.on("notes")
    async def take(note: Note, ctx: Context) -> None:
        seen.append(note.text)
        good.set()

    spans = list[SpanRecord]()
    async with memory_system(System("s", agents=[agent]), spans=collector(spans)) as client:
        await client.publish("notes", Note(text="bad"))
        await client.publish("notes", Note(text="good"))
        async with asyncio.timeout(60):
            await good.wait()
    assert seen == ["good"]
    assert guard_events(spans) == [("process", "forbids", "handler.input", "refused")]


async def test_what_is_taken_out_of_a_prompt_is_in_no_journal_and_no_span(tmp_path: Path) -> None:
    """The model sees the rest; the reply is what the output's guards made of it, wherever it is kept."""
    system, answer = asker(redacts("model.input", by={"who": "grace"}), redacts("model.output"))
    model = ScriptedModel(lambda request: f"{request.conversation[-1].text} is {MAIL}")
    server, spans = MemoryServer(), list[SpanRecord]()
    settings = Settings(home=tmp_path, capture_content=True)
    async with memory_system(
        system, models={"smollm2-135m": model}, server=server, spans=collector(spans), settings=settings
    ) as client:
        task = await client.submit(answer, Note(text="who is grace?"))
        assert (await task.result(timeout_s=60)).text == "who is [who]? is [email]"
        history, _ = await read_history(client.host.bus, "default", task.id)
    assert "grace" not in repr(history.all)
    chat = next(span for span in spans if span.name.startswith("chat "))
    assert "[who]" in chat.attributes["gen_ai.input.messages"]
    assert "[email]" in chat.attributes["gen_ai.output.messages"]
    assert "grace" not in repr(chat)
    assert [event[1:] for event in guard_events(spans)] == [
        ("redacts", "model.input", "rewritten"),
        ("redacts", "model.output", "rewritten"),
    ]


async def test_a_refused_reply_is_not_captured(tmp_path: Path) -> None:
    """The caller gets the reason; what was said is nowhere."""
    system, answer = asker(forbids("secret", "model.output"))
    spans = list[SpanRecord]()
    async with memory_system(
        system,
        models={"smollm2-135m": ScriptedModel(["the secret is forty-two"])},
        spans=collector(spans),
        settings=Settings(home=tmp_path, capture_content=True),
    ) as client:
        with pytest.raises(Refused, match=r"refused model\.output of smollm2-135m"):
            await client.ask(answer, Note(text="tell me"))
    chat = next(span for span in spans if span.name.startswith("chat "))
    assert chat.attributes["error.type"] == "Refused"
    assert "forty-two" not in repr(spans)


async def test_a_typed_reply_is_checked_as_json() -> None:
    """A number that looks like a card stays a number, and the text beside it goes."""
    agent = Agent("a", guards=[redacts("model.output"), fits(Short, "model.output")])

    @agent.handles
    async def answer(note: Note, ctx: Context) -> Short:
        return await ctx.model.generate(Short, note.text)

    model = ScriptedModel([Short(text=MAIL, code=4111111111111111), '{"code": 1}'])
    async with memory_system(System("s", agents=[agent]), models={"smollm2-135m": model}) as client:
        assert await client.ask(answer, Note(text="x")) == Short(text="[email]", code=4111111111111111)
        with pytest.raises(Refused, match="text: Field required"):
            await client.ask(answer, Note(text="x"))


async def test_embedded_texts_are_guarded_too() -> None:
    """They are a model's input."""
    agent = Agent("a", guards=[redacts("model.input"), forbids("x", "model.output")])
    seen: list[str] = []

    @agent.handles
    async def embed(note: Note, ctx: Context) -> Note:
        return Note(text=str(len((await ctx.model.embed([note.text, "plain"])).vectors)))

    def vector(text: str) -> list[float]:
        seen.append(text)
        return [1.0]

    models = {"smollm2-135m": ScriptedModel([], embed=vector)}
    async with memory_system(System("s", agents=[agent]), models=models) as client:
        assert (await client.ask(embed, Note(text=MAIL))).text == "2"
    assert seen == ["[email]", "plain"]


async def test_a_streamed_reply_is_held_back_until_it_has_passed() -> None:
    """Then it is shown at once, as the guards left it; a long one in pieces that a stream carries."""
    long = "word " * 40_000
    system, answer = asker(redacts("model.output"))
    models = {"smollm2-135m": ScriptedModel([f"write to {MAIL} please", long])}
    async with memory_system(system, models=models) as client:
        shown = [event async for event in client.stream(answer, Note(text="x"))]
        assert "".join(event.text for event in shown if isinstance(event, Token)) == "write to [email] please"
        assert isinstance(shown[-1], Done)
        shown = [event async for event in client.stream(answer, Note(text="x"))]
        last = shown[-1]
        assert isinstance(last, Done)
        assert "".join(event.text for event in shown if isinstance(event, Token)) == last.value.text


async def test_a_refused_reply_is_never_shown() -> None:
    """Not even its beginning."""
    system, answer = asker(forbids("secret", "model.output"))
    shown = []
    async with memory_system(system, models={"smollm2-135m": ScriptedModel(["here is the secret"])}) as client:
        with pytest.raises(Refused):
            async for event in client.stream(answer, Note(text="x")):
                shown.append(event)
    assert shown == []


async def test_a_guard_on_what_a_handler_returns_holds_back_all_that_it_would_show() -> None:
    """What comes before the result could say what the result may not."""
    system, answer = asker(forbids("secret", "handler.output"))
    async with memory_system(system, models={"smollm2-135m": ScriptedModel(["all is well"])}) as client:
        assert [type(event) async for event in client.stream(answer, Note(text="x"))] == [Done]


def finder(*guards: Any) -> tuple[System, Handler[Note, Note], list[dict[str, Any]]]:
    """An agent with a tool, and what the tool was given."""
    given: list[dict[str, Any]] = []

    @tool(effect="read")
    async def find(name: str, limit: int = 1) -> list[str]:
        """Addresses of people."""
        given.append({"name": name, "limit": limit})
        return [f"{name} lives at {MAIL}"] * limit

    agent = Agent("a", guards=guards, tools=[find])

    @agent.handles
    async def answer(note: Note, ctx: Context) -> Note:
        found = await ctx.tool(find, note.text, limit=2)
        return Note(text=" and ".join(found))

    return System("s", agents=[agent]), answer, given


@pytest.mark.parametrize("durable", [False, True])
async def test_a_tool_is_given_and_gives_what_the_guards_make_of_it(durable: bool) -> None:
    """By ask and as a task; its arguments are those of the call where nothing changes them."""
    system, answer, given = finder(redacts("tool.arguments", by={"who": "bob"}), redacts("tool.result"))
    spans = list[SpanRecord]()
    async with memory_system(system, spans=collector(spans)) as client:
        for name, seen in (("bob", "[who]"), ("ada", "ada")):
            if durable:
                task = await client.submit(answer, Note(text=name))
                reply = await task.result(timeout_s=60)
                history, _ = await read_history(client.host.bus, "default", task.id)
                assert MAIL not in repr(history.all)
            else:
                reply = await client.ask(answer, Note(text=name))
            assert reply.text == f"{seen} lives at [email] and {seen} lives at [email]"
            assert given[-1] == {"name": seen, "limit": 2}
    assert guard_events(spans)[:2] == [
        ("execute_tool", "redacts", "tool.arguments", "rewritten"),
        ("execute_tool", "redacts", "tool.result", "rewritten"),
    ]


async def test_a_tool_with_refused_arguments_does_not_run() -> None:
    """The handler may catch the error and go on."""
    limit = {"type": "object", "properties": {"limit": {"type": "integer", "maximum": 1}}}
    system, answer, given = finder(fits(limit, "tool.arguments"))
    async with memory_system(system) as client:
        with pytest.raises(Refused, match=r"refused tool\.arguments of find: limit: expected at most 1"):
            await client.ask(answer, Note(text="ada"))
    assert given == []


class Broken:
    """A guard that fails."""

    name = "broken"
    stages = ("tool.result",)

    async def check(self, value: Any, moment: Moment) -> Any:
        raise ValueError("tool.result")


@virtual_time()
async def test_in_the_loop_of_model_and_tools_a_refused_call_is_told_to_the_model() -> None:
    """It may ask for something else; a refused reply of its own ends the loop."""
    agent = Agent("a", tools=[look_up], guards=[forbids("ada", "tool.arguments"), forbids("secret", "model.output")])

    @agent.handles
    async def answer(note: Note, ctx: Context) -> Note:
        return Note(text=await ctx.model.run(str, note.text))

    call = ToolCall(id="1", name="look_up", arguments={"name": "ada"})
    model = ScriptedModel([call, "nobody may know", "the secret"])
    async with memory_system(System("s", agents=[agent]), models={"smollm2-135m": model}) as client:
        assert (await client.ask(answer, Note(text="Where is Ada?"))).text == "nobody may know"
        told = model.requests[-1].conversation[-1].parts[0]
        assert isinstance(told, ToolResult) and told.error and "refused tool.arguments" in told.content
        with pytest.raises(Refused):
            await client.ask(answer, Note(text="What else?"))


@pytest.mark.parametrize("fails", [forbids("[0-9]{4}", "tool.result"), Broken()])
@virtual_time()
async def test_a_write_whose_result_is_refused_is_neither_repeated_nor_in_doubt(fails: Any) -> None:
    """It has happened, and the journal says so; nor if the guard itself fails."""
    written: list[int] = []

    @tool(effect="write")
    async def pay(cents: int) -> str:
        """Pay."""
        written.append(cents)
        return "done, the code is 1234"

    agent = Agent("a", guards=[fails], tools=[pay], first_retry_s=0.01)

    @agent.handles
    async def work(note: Note, ctx: Context) -> Note:
        try:
            await ctx.tool(pay, 5)
        except (Refused, ValueError) as error:
            if ctx.attempt == 1:
                raise OSError("dies here") from None
            return Note(text=str(error))
        return Note(text="not refused")

    async with memory_system(System("s", agents=[agent])) as client:
        task = await client.submit(work, Note(text="x"))
        assert "tool.result" in (await task.result(timeout_s=60)).text
    assert written == [5]


def judged(*, retries: int) -> tuple[System, Handler[Note, Note]]:
    """An agent whose answers another model has to accept; its handler has an operation after it."""
    agent = Agent("a", guards=[verified_by("judge", "Does it cite a source?", retries=retries)], first_retry_s=0.01)

    @agent.handles
    async def answer(note: Note, ctx: Context) -> Note:
        text = await ctx.model.generate(str, note.text, emit=True)

        async def once(key: str) -> str:
            return key.partition(":")[2]

        return Note(text=f"{text} ({await ctx.run('once', once)})")

    return System("s", agents=[agent]), answer


async def test_an_answer_that_is_not_accepted_is_given_again() -> None:
    """With the reason; each call has an entry and a span of its own, and the handler's next operation is its second."""
    system, answer = judged(retries=1)
    model, judge = ScriptedModel(["The sky is blue.", "Blue, says Rayleigh."]), ScriptedModel([NO, YES])
    spans = list[SpanRecord]()
    models = {"smollm2-135m": model, "judge": judge}
    async with memory_system(system, models=models, spans=collector(spans)) as client:
        task = await client.submit(answer, Note(text="Why is the sky blue?"))
        assert (await task.result(timeout_s=60)).text == "Blue, says Rayleigh. (2)"
        history, _ = await read_history(client.host.bus, "default", task.id)
    assert set(history.entries) == {"1", "1.check.1", "1.check.2", "1.check.3", "2"}
    told = [turn.text for turn in model.requests[1].conversation]
    assert told[:2] == ["Why is the sky blue?", "The sky is blue."]
    assert "it cites nothing" in told[2]
    asked = judge.requests[0]
    assert asked.output is not None
    assert "Does it cite a source?" in asked.conversation[0].text
    assert asked.conversation[1].text == "It was asked:\nWhy is the sky blue?\n\nIt answered:\nThe sky is blue."
    again = judge.requests[1].conversation[1].text
    assert again == "It was asked:\nWhy is the sky blue?\n\nIt answered:\nBlue, says Rayleigh."
    assert sum(span.name.startswith("chat ") for span in spans) == 4
    assert guard_events(spans) == [("process", "verified_by", "model.output", "repeated")]


async def test_only_an_accepted_answer_is_shown() -> None:
    """Readers of the stream see no first try."""
    system, answer = judged(retries=1)
    models = {"smollm2-135m": ScriptedModel(["bad", "good"]), "judge": ScriptedModel([NO, YES])}
    async with memory_system(system, models=models) as client:
        shown = [event async for event in client.stream(answer, Note(text="x"))]
    assert [event.text for event in shown if isinstance(event, Token)] == ["good"]


@pytest.mark.parametrize("retries", [0, 2])
async def test_the_last_no_is_a_refusal(retries: int) -> None:
    """It says how often, and the verifier's words are for the caller only."""
    system, answer = judged(retries=retries)
    model, judge = ScriptedModel(lambda request: "because"), ScriptedModel(lambda request: NO)
    spans = list[SpanRecord]()
    models = {"smollm2-135m": model, "judge": judge}
    async with memory_system(system, models=models, spans=collector(spans)) as client:
        with pytest.raises(Refused, match=f"judge said no to 'Does it cite a source.', {retries + 1} times") as caught:
            await client.ask(answer, Note(text="x"))
    assert caught.value.details["said"] == "it cites nothing"
    assert (len(model.requests), len(judge.requests)) == (retries + 1, retries + 1)
    assert [event[3] for event in guard_events(spans)] == ["repeated"] * retries + ["refused"]
    assert "cites nothing" not in repr(spans)


@pytest.mark.parametrize("cut", range(6))
@virtual_time()
async def test_a_crash_anywhere_repeats_no_answer_and_no_verdict(cut: int) -> None:
    """Whichever call fails in the first attempt: what was said before it is not asked for again."""
    system, answer = judged(retries=1)
    said: list[str] = []

    def script(words: list[str]) -> Callable[[Any], Any]:
        def reply(request: Any) -> Any:
            if len(said) == cut:
                said.append("crash")
                return ModelUnavailable("gone")
            said.append(words[0])
            return words.pop(0)

        return reply

    models = {"smollm2-135m": ScriptedModel(script(["bad", "good"])), "judge": ScriptedModel(script([NO, YES]))}
    async with memory_system(system, models=models) as client:
        task = await client.submit(answer, Note(text="x"))
        assert (await task.result(timeout_s=60)).text == "good (2)"
    expected = ["bad", NO, "good", YES]
    if cut < 4:
        expected.insert(cut, "crash")
    assert said == expected


@pytest.mark.parametrize("cut", range(4))
@virtual_time()
async def test_a_node_that_dies_during_a_call_loses_that_call_only(cut: int) -> None:
    """Another one goes on: answers and verdicts that were recorded are not asked for again."""
    system, answer = judged(retries=1)
    begun: list[str] = []

    async def die(token_s: float) -> None:
        if len(begun) == cut + 1:
            await cluster.kill(cluster.here)

    def script(words: list[str]) -> Callable[[Any], str]:
        def reply(request: Any) -> str:
            word = words[sum(each in words for each in begun) - (len(begun) > cut and begun[cut] in words)]
            begun.append(word)
            return word

        return reply

    models = {
        "smollm2-135m": ScriptedModel(script(["bad", "good"]), sleep=die),
        "judge": ScriptedModel(script([NO, YES]), sleep=die),
    }
    async with memory_cluster(system, models=models, nodes=2, lag_s=0.001) as cluster:
        task = await cluster.client.submit(answer, Note(text="x"))
        assert (await task.result(timeout_s=60)).text == "good (2)"
        assert len(cluster.nodes) == 1
    expected = ["bad", NO, "good", YES]
    expected.insert(cut, expected[cut])
    assert begun == expected


@virtual_time()
async def test_another_attempt_comes_to_the_same_refusal_without_asking_again() -> None:
    """Verdicts are recorded, and so is what follows from them."""
    agent = Agent("a", guards=[verified_by("judge", "Good?", retries=1)], first_retry_s=0.01)

    @agent.handles
    async def answer(note: Note, ctx: Context) -> Note:
        try:
            await ctx.model.generate(str, note.text)
        except Refused as error:
            if ctx.attempt == 1:
                raise OSError("dies here") from None
            return Note(text=f"{error.details['said']} {ctx.attempt}")
        return Note(text="accepted")

    model, judge = ScriptedModel(["one", "two"]), ScriptedModel([NO, NO])
    async with memory_system(System("s", agents=[agent]), models={"smollm2-135m": model, "judge": judge}) as client:
        task = await client.submit(answer, Note(text="x"))
        assert (await task.result(timeout_s=60)).text == "it cites nothing 2"


async def test_verifiers_see_what_other_guards_have_let_through() -> None:
    """The prompt and the answer without what is taken out of them; a verdict is no answer that has to match."""
    agent = Agent(
        "a",
        guards=[redacts("model.input", "model.output"), matches("fine", "model.output"), verified_by("judge", "Good?")],
    )

    @agent.handles
    async def answer(note: Note, ctx: Context) -> Note:
        return Note(text=await ctx.model.generate(str, note.text))

    judge = ScriptedModel([YES])
    models = {"smollm2-135m": ScriptedModel([f"{MAIL} is fine"]), "judge": judge}
    async with memory_system(System("s", agents=[agent]), models=models) as client:
        assert (await client.ask(answer, Note(text=f"is {MAIL} fine?"))).text == "[email] is fine"
    assert judge.requests[0].conversation[1].text == "It was asked:\nis [email] fine?\n\nIt answered:\n[email] is fine"


async def test_a_verifier_spends_from_the_budget_of_the_run() -> None:
    """Each verdict is a step, each further answer too."""
    system, answer = judged(retries=1)
    models = {"smollm2-135m": ScriptedModel(["bad", "good"]), "judge": ScriptedModel([NO, YES])}
    async with memory_system(system, models=models) as client:
        assert (await client.ask(answer, Note(text="x"), budget={"steps": 5})).text.startswith("good")
