"""The loop of model and tools: what the model is told, what ends it, and what it leaves behind."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from antiphon import Agent, Context, Message, System, tool
from antiphon.runtime.client import Client
from antiphon.runtime.errors import (
    BudgetExceeded,
    ConfigurationError,
    DeadlineExceeded,
    InDoubt,
    InvalidArguments,
    InvalidOutput,
    ModelUnavailable,
    NotDurable,
    StepsExceeded,
    ToolRejected,
    ToolTimeout,
)
from antiphon.runtime.models.scripted import Line, Script, Scripted
from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.testing import ScriptedModel, memory_cluster, memory_system, virtual_time
from antiphon.runtime.tool import Tool
from antiphon.runtime.tool_loop import MAX_RESULT
from antiphon.schemas.inference import (
    GenerateRequest,
    Role,
    TextPart,
    ToolCall,
    ToolResult,
    Turn,
    turn,
)
from antiphon.schemas.telemetry import TelemetryBatch


class Question(Message):
    text: str = ""


class Answer(Message):
    text: str


class Both(Message):
    a: int
    b: int


@tool(effect="pure")
async def add(a: int, b: int) -> int:
    """The sum."""
    return a + b


def call(name: str, id: str = "c", **arguments: Any) -> ToolCall:
    return ToolCall(id=id, name=name, arguments=arguments)


def results(request: GenerateRequest) -> list[ToolResult]:
    return [part for turn in request.conversation for part in turn.parts if isinstance(part, ToolResult)]


Ask = Callable[[Context], Awaitable[Any]]


async def run(
    tools: list[Tool[..., Any]], script: Script, ask: Ask, *, durable: bool = True, **options: Any
) -> tuple[Any, ScriptedModel]:
    """What ``ask`` gives in a handler of an agent with these tools, or raises there; and the model."""
    agent = Agent("a", tools=tools, max_attempts=1)
    model = ScriptedModel(script)
    told: list[Any] = []

    @agent.handles
    async def work(question: Question, ctx: Context) -> Answer:
        try:
            told.append(await ask(ctx))
        except Exception as error:
            told.append(error)
            raise
        return Answer(text="done")

    async with memory_system(System("s", agents=[agent]), models={"smollm2-135m": model}) as client:
        try:
            if durable:
                await (await client.submit(work, Question(), **options)).result(timeout_s=600)
            else:
                await client.ask(work, Question(), **options)
        except Exception:
            if not told:
                raise
    if isinstance(told[-1], Exception):
        raise told[-1]
    return told[-1], model


@virtual_time()
@pytest.mark.parametrize("durable", [True, False])
async def test_tools_are_run_until_the_model_answers(durable: bool) -> None:
    """The model sees the tools, its own calls and their results; text and messages are answers."""
    script: list[Line] = [call("add", a=1, b=2), Answer(text="3")]
    answer, model = await run(
        [add], script, lambda ctx: ctx.model.run(Answer, "1+2?", system="Be brief."), durable=durable
    )
    assert answer == Answer(text="3")
    first, second = model.requests
    assert first.tools == (add.spec(),)
    assert first.output is not None
    assert first.conversation == (
        turn(Role.SYSTEM, "Be brief.", segment="system"),
        turn(Role.USER, "1+2?", segment="user"),
    )
    assert second.conversation[2:] == (
        Turn(role=Role.ASSISTANT, parts=(call("add", a=1, b=2),), segment="reply"),
        Turn(role=Role.TOOL, parts=(ToolResult(id="c", name="add", content="3"),), segment="tools"),
    )
    text, _ = await run([add], ["three"], lambda ctx: ctx.model.run(str, "1+2?"), durable=durable)
    assert text == "three"


@virtual_time()
async def test_calls_of_one_turn_run_together() -> None:
    """Each waits for the other; the results are in the order of the calls."""
    meeting = asyncio.Barrier(2)

    @tool(effect="read")
    async def meet(who: str) -> str:
        await meeting.wait()
        return who

    script: list[Line] = [Scripted(calls=(call("meet", "1", who="x"), call("meet", "2", who="y"))), "met"]
    _, model = await run([meet], script, lambda ctx: ctx.model.run(str, "Meet."))
    assert [part.content for part in results(model.requests[1])] == ["x", "y"]


@tool(effect="read")
async def broken(n: int) -> int:
    """Raises."""
    raise OSError(f"no route to {n}")


@tool(effect="read", timeout="2s")
async def stuck() -> int:
    """Hangs."""
    await asyncio.Event().wait()
    return 1


@tool(effect="read")
async def liar() -> int:
    """Says a number, returns a word."""
    return "many"  # type: ignore[return-value]  # that is what is wrong with it


@tool(effect="read")
async def opaque() -> Any:
    """Returns what JSON cannot carry."""
    return asyncio.Event()


@virtual_time()
@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (call("broken", n=7), "OSError: no route to 7"),
        (call("broken", n="seven"), "arguments of broken: n: Input should be a valid integer"),
        (call("nothing"), "there is no tool 'nothing'; there are: broken, liar, opaque, stuck"),
        (call("stuck"), "tool 'stuck' was stopped: it may take 2 s"),
        (call("liar"), "tool 'liar' returned something else than it declares: body: Input should be a valid integer"),
        (call("opaque"), "tool opaque returned a Event: JSON cannot carry it"),
    ],
)
async def test_what_goes_wrong_in_a_tool_is_told_to_the_model(asked: ToolCall, says: str, durable: bool) -> None:
    """As an error that it can read; the loop goes on, and nothing waits longer than the tool may take."""
    tools: list[Tool[..., Any]] = [broken, stuck, liar, opaque]
    answer, model = await run(tools, [asked, "sorry"], lambda ctx: ctx.model.run(str, "?"), durable=durable)
    assert answer == "sorry"
    (result,) = results(model.requests[1])
    assert result.error
    assert result.content.startswith(says)
    assert asyncio.get_running_loop().time() < 5


@virtual_time()
async def test_a_megabyte_is_cut_and_says_so() -> None:
    """The model reads the beginning, and how much there was."""

    @tool(effect="read")
    async def dump() -> str:
        return "x" * 1_000_000

    _, model = await run([dump], [call("dump"), "ok"], lambda ctx: ctx.model.run(str, "?"))
    (result,) = results(model.requests[1])
    assert result.content.startswith("x" * MAX_RESULT + "\n[cut: these are the first")
    assert "of 1000000 characters" in result.content[MAX_RESULT:]
    assert len(result.content) < MAX_RESULT + 200


@virtual_time()
async def test_a_reply_that_is_no_answer_is_corrected_twice() -> None:
    """The model reads what was wrong and what is wanted; the last try has no tools in the way of the schema."""
    script: list[Line] = ["add(1, 2)", '{"text": 3}', Answer(text="3")]
    answer, model = await run([add], script, lambda ctx: ctx.model.run(Answer, "1+2?"))
    assert answer == Answer(text="3")
    corrected = model.requests[1].conversation
    assert corrected[-2].text == "add(1, 2)"
    assert "That reply cannot be used" in corrected[-1].text
    assert json.dumps(Answer.model_json_schema()) in corrected[-1].text
    assert [len(request.tools) for request in model.requests] == [1, 1, 0]
    with pytest.raises(InvalidOutput, match="expected a Answer"):
        await run([add], ["one", "two", "three", "four"], lambda ctx: ctx.model.run(Answer, "1+2?"))


@virtual_time()
async def test_an_empty_reply_and_an_unreadable_call_are_corrected_too() -> None:
    """Neither is an answer."""
    script: list[Line] = ["", InvalidOutput("the arguments of tool 'add' are '{', expected a JSON object"), "3"]
    answer, model = await run([add], script, lambda ctx: ctx.model.run(str, "1+2?"))
    assert answer == "3"
    assert "the reply is empty" in model.requests[1].conversation[-1].text
    assert "expected a JSON object" in model.requests[2].conversation[-1].text


@virtual_time()
async def test_a_cut_reply_is_no_reason_to_try_again() -> None:
    """The same would come again: whoever asked has to allow more tokens."""
    with pytest.raises(InvalidOutput, match="raise max_tokens"):
        await run([], ["one two three four"], lambda ctx: ctx.model.run(Answer, "?", max_tokens=2))


@virtual_time()
async def test_the_steps_are_bounded() -> None:
    """The error says how many model calls and tools there were."""

    def script(request: GenerateRequest) -> ToolCall:
        return call("add", a=1, b=len(request.conversation))

    with pytest.raises(StepsExceeded, match=r"no answer in max_steps=3 .*3 model calls and 3 tool runs") as caught:
        await run([add], script, lambda ctx: ctx.model.run(str, "?", max_steps=3))
    assert caught.value.details == {"steps": "3", "tool_calls": "3", "tools": "add,add,add"}
    with pytest.raises(ConfigurationError, match="max_steps is 0"):
        await run([add], script, lambda ctx: ctx.model.run(str, "?", max_steps=0))


@virtual_time()
async def test_a_budget_ends_the_loop_with_the_reason() -> None:
    """The budget's own error, and how far the loop had come."""

    def script(request: GenerateRequest) -> ToolCall:
        return call("add", a=1, b=len(request.conversation))

    with pytest.raises(BudgetExceeded, match=r"may use 5 steps.*3 model calls and 3 tool runs") as caught:
        await run([add], script, lambda ctx: ctx.model.run(str, "?"), budget={"steps": 5})
    assert {"budget": "steps", "steps": "3", "tool_calls": "3"}.items() <= caught.value.details.items()


@virtual_time()
async def test_the_deadline_of_the_task_is_not_the_models_business() -> None:
    """A tool that hangs without a timeout ends with the task."""

    @tool(effect="read")
    async def hang() -> int:
        await asyncio.Event().wait()
        return 1

    agent = Agent("a", tools=[hang])
    model = ScriptedModel([call("hang"), "never"])

    @agent.handles
    async def work(question: Question, ctx: Context) -> Answer:
        return Answer(text=await ctx.model.run(str, "?"))

    async with memory_system(System("s", agents=[agent]), models={"smollm2-135m": model}) as client:
        with pytest.raises(DeadlineExceeded):
            await (await client.submit(work, Question(), timeout_s=3)).result(timeout_s=60)
    assert len(model.requests) == 1


async def ops(client: Client, *, approved: bool, value: dict[str, Any] | None = None) -> None:
    """A person who answers the first question there is."""
    while not (found := await client.host.approvals.all()):  # noqa: ASYNC110 - virtual time
        await asyncio.sleep(0.05)
    assert found[0].to == "role:ops"
    assert found[0].proposal["tool"] == "pay"
    assert found[0].proposal["arguments"] == {"cents": 5}
    await client.host.approvals.answer(found[0].id, approved=approved, by="ada", comment="too much", value=value)


@virtual_time()
@pytest.mark.parametrize(
    ("approved", "value", "says"),
    [
        (True, None, "paid 5"),
        (True, {"tool": "pay", "arguments": {"cents": 4}}, "paid 4"),
        (True, {"tool": "pay", "arguments": {"cents": "lots"}}, "arguments of pay: cents"),
        (False, None, "ada did not approve of tool 'pay': too much"),
    ],
)
async def test_a_person_decides_before_a_tool_runs(approved: bool, value: dict[str, Any] | None, says: str) -> None:
    """As asked, edited, edited wrongly, or not at all: the model is told what came of it."""

    @tool(approve="role:ops")
    async def pay(cents: int, idempotency_key: str = "") -> str:
        return f"paid {cents}"

    agent = Agent("a", tools=[pay])
    model = ScriptedModel([call("pay", cents=5), "done"])

    @agent.handles
    async def work(question: Question, ctx: Context) -> Answer:
        return Answer(text=await ctx.model.run(str, "Pay."))

    @agent.handles
    async def directly(question: Question, ctx: Context) -> Answer:
        return Answer(text=await ctx.tool(pay, 5))

    async with memory_system(System("s", agents=[agent]), models={"smollm2-135m": model}) as client:
        task = await client.submit(work, Question())
        await ops(client, approved=approved, value=value)
        assert (await task.result(timeout_s=60)).text == "done"
        (result,) = results(model.requests[1])
        assert result.content.startswith(says)
        assert result.error is not says.startswith("paid")
        task = await client.submit(directly, Question())
        await ops(client, approved=approved, value=value)
        if says.startswith("paid"):
            assert (await task.result(timeout_s=60)).text == says
        else:
            with pytest.raises((ToolRejected, InvalidArguments), match=says):
                await task.result(timeout_s=60)
        with pytest.raises(NotDurable, match="tool 'pay' asks a person first, and this is an ask"):
            await client.ask(directly, Question())


@virtual_time()
async def test_a_handler_gets_a_typed_error_from_a_tool_that_takes_too_long() -> None:
    """And a TimeoutError of the tool's own stays what it is."""

    @tool(effect="read", timeout="1s")
    async def own() -> int:
        raise TimeoutError("of the server")

    with pytest.raises(ToolTimeout, match="may take 2 s"):
        await run([stuck], [], lambda ctx: ctx.tool(stuck))
    with pytest.raises(TimeoutError, match="of the server"):
        await run([own], [], lambda ctx: ctx.tool(own))


@virtual_time()
async def test_doubt_ends_the_loop() -> None:
    """No model decides whether an interrupted write happened."""
    begun: list[int] = []

    @tool()
    async def charge() -> int:
        begun.append(1)
        await asyncio.sleep(1 if len(begun) > 1 else 1000)
        return 1

    agent = Agent("a", tools=[charge], lease_s=1.0)

    @agent.handles
    async def work(question: Question, ctx: Context) -> Answer:
        return Answer(text=await ctx.model.run(str, "Charge."))

    model = ScriptedModel(lambda request: "done" if results(request) else call("charge"))
    async with memory_cluster(System("s", agents=[agent]), models={"smollm2-135m": model}) as cluster:
        task = await cluster.client.submit(work, Question())
        while not begun:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.05)
        await cluster.kill("node-0")
        await cluster.start("node-1")
        with pytest.raises(Exception, match="InDoubt") as caught:
            await task.result(timeout_s=600)
    assert InDoubt.__name__ in str(caught.value)
    assert begun == [1]


class Memory:
    """A conversation, kept in a list."""

    def __init__(self, *turns: Turn) -> None:
        self.turns = list(turns)

    async def history(self) -> tuple[Turn, ...]:
        return tuple(self.turns)

    async def append(self, *turns: Turn) -> None:
        self.turns += turns


@virtual_time()
async def test_a_session_gets_the_question_the_tool_turns_and_the_answer() -> None:
    """Once, when there is an answer; corrections and the system turn are not part of it."""
    before = [turn(Role.USER, "Hello"), turn(Role.ASSISTANT, "Hi")]
    memory = Memory(*before)
    script: list[Line] = ["no JSON", call("add", a=1, b=2), Answer(text="3")]
    _, model = await run([add], script, lambda ctx: ctx.model.run(Answer, "1+2?", system="Be brief.", session=memory))
    assert [one.role for one in model.requests[0].conversation] == [Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.USER]
    roles = [one.role for one in memory.turns[2:]]
    assert roles == [Role.USER, Role.ASSISTANT, Role.TOOL, Role.ASSISTANT]
    assert memory.turns[-1].parts == (TextPart(text=Answer(text="3").model_dump_json()),)
    with pytest.raises(InvalidOutput):
        await run([], ["x", "y", "z"], lambda ctx: ctx.model.run(Answer, "?", session=memory))
    assert len(memory.turns) == 6
    await run([], ["Fine."], lambda ctx: ctx.model.generate(str, "How are you?", session=memory))
    assert [one.text for one in memory.turns[6:]] == ["How are you?", "Fine."]


@virtual_time()
async def test_calls_of_the_loop_carry_what_the_detectors_need() -> None:
    """Effect, time to live, determinism and hashes: the same as of a tool that a handler runs itself."""
    batches: list[TelemetryBatch] = []

    @tool(effect="read", ttl="10m")
    async def look(word: str) -> str:
        return word

    agent = Agent("a", tools=[look, add])

    @agent.handles
    async def work(question: Question, ctx: Context) -> Answer:
        await ctx.tool(look, "x")
        return Answer(text=await ctx.model.run(str, "?"))

    model = ScriptedModel([call("look", word="x"), call("add", a=1, b=1), "done"])
    system = System("s", agents=[agent])
    async with memory_system(system, models={"smollm2-135m": model}, spans=batches.append) as client:
        await (await client.submit(work, Question())).result(timeout_s=60)
    spans = [span for batch in batches for span in batch.spans if span.attributes.get(names.OPERATION) == "tool"]
    by_path = {span.attributes[names.PATH]: span.attributes for span in spans}
    assert set(by_path) == {"1", "3.a.1", "5.a.1"}
    ours, theirs, pure = by_path["1"], by_path["3.a.1"], by_path["5.a.1"]
    for name in (names.EFFECT, names.TOOL_TTL_S, names.DETERMINISTIC, names.INPUT_HASH, names.RESULT_HASH):
        assert theirs[name] == ours[name]
    assert (theirs[names.EFFECT], theirs[names.TOOL_TTL_S]) == ("read", 600.0)
    assert (pure[names.EFFECT], pure[names.DETERMINISTIC]) == ("pure", True)


@virtual_time()
async def test_a_tool_that_is_described_anew_changes_no_recorded_call() -> None:
    """As an MCP server may between two attempts: what was recorded is found again, and nothing is done twice."""
    begun: list[str] = []

    async def find(arguments: dict[str, Any]) -> str:
        begun.append(arguments["word"])
        return "found"

    look = Tool.from_schema("look", "Looks.", {"type": "object", "properties": {"word": {}}}, find, effect="read")
    agent = Agent("a", tools=[look], first_retry_s=1.0)

    @agent.handles
    async def work(question: Question, ctx: Context) -> Answer:
        answer = Answer(text=await ctx.model.run(str, "?"))
        if ctx.attempt == 1:
            look.description = "Looks well."
            look.parameters["properties"]["word"] = {"type": "string"}
            raise ModelUnavailable("try again")
        return answer

    model = ScriptedModel([call("look", word="x"), "done"])
    async with memory_system(System("s", agents=[agent]), models={"smollm2-135m": model}) as client:
        assert await (await client.submit(work, Question())).result(timeout_s=60) == Answer(text="done")
    assert (begun, len(model.requests)) == (["x"], 2)


@virtual_time()
async def test_a_tool_may_call_its_arguments_as_it_likes() -> None:
    """Also as Python calls those of ``ctx.tool``: a server elsewhere knows nothing of it."""

    async def echo(arguments: dict[str, Any]) -> dict[str, Any]:
        return arguments

    named: dict[str, Any] = {"self": 1, "tool": "hammer", "ctx": 2, "args": 3}
    any_names = Tool.from_schema("echo", "", {"type": "object"}, echo, effect="read")
    _, model = await run([any_names], [call("echo", **named), "done"], lambda ctx: ctx.model.run(str, "?"))
    assert [json.loads(one.content) for one in results(model.requests[1])] == [named]
