"""A pydantic-ai agent as an Antiphon agent: its model calls and its tools are journaled and traced.

pip install pydantic-ai-slim
antiphon run examples/frameworks/pydantic_ai_agent.py:system
antiphon submit desk.answer '{"text": "Is order 17 on its way?"}' --wait

pydantic-ai runs tools in asyncio tasks of its own, so what they want of ``ctx`` goes over the desk. When a worker dies,
another one runs the agent again from its start, and the journal answers what was done already.
"""

from dataclasses import dataclass

from pydantic_ai import Agent as PydanticAgent
from pydantic_ai import NativeOutput, RunContext
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    ModelResponsePart,
    RetryPromptPart,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RequestUsage

from antiphon import Agent, Context, Message, System, tool
from antiphon.runtime.patterns.hosted import Desk, hosted
from antiphon.schemas.inference import Role, Sampling, ToolCall, ToolResult, ToolSpec, Turn, turn
from antiphon.schemas.inference import TextPart as Said


class Question(Message):
    """What a customer wants to know."""

    text: str


class Answer(Message):
    """What the customer is told."""

    text: str
    order: int


@tool(effect="read", ttl="1m")
async def look_up(order: int) -> str:
    """Where an order is."""
    return {17: "on its way, arrives on Friday"}.get(order, "unknown")


@dataclass(kw_only=True)
class Deps:
    """What the agent's tools are given."""

    ctx: Context
    desk: Desk


class AntiphonModel(Model):
    """The Antiphon agent's model as pydantic-ai's; a reply that calls no tool fits ``output``, whatever the model."""

    def __init__(self, ctx: Context, desk: Desk, output: type[Message]) -> None:
        super().__init__(profile=ModelProfile(supports_json_schema_output=True))
        self._ctx = ctx
        self._desk = desk
        self._output = output

    @property
    def model_name(self) -> str:
        """Its name in Antiphon's settings."""
        return self._ctx.model.name

    @property
    def system(self) -> str:
        """The provider, for pydantic-ai's own telemetry."""
        return "antiphon"

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """One model call: one journal entry and one span."""
        model_settings, parameters = self.prepare_request(model_settings, model_request_parameters)
        specs = tuple(
            ToolSpec(name=each.name, description=each.description or "", parameters=each.parameters_json_schema)
            for each in parameters.function_tools
        )
        turns = turns_of(messages)
        reply = await self._desk.do(
            lambda: self._ctx.model.reply(turns, self._output, Sampling(max_tokens=256), tools=specs, emit=False)
        )
        parts: list[ModelResponsePart] = [TextPart(reply.text)] if reply.text else []
        parts += [ToolCallPart(call.name, call.arguments, tool_call_id=call.id) for call in reply.tool_calls]
        usage = reply.finish.usage
        return ModelResponse(
            parts=parts,
            model_name=reply.finish.model,
            usage=RequestUsage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens),
        )


def turns_of(messages: list[ModelMessage]) -> tuple[Turn, ...]:
    """pydantic-ai's history as Antiphon's. Text and tools; pictures and files are refused."""
    turns: list[Turn] = []
    for message in messages:
        if isinstance(message, ModelRequest) and message.instructions:
            turns.insert(0, turn(Role.SYSTEM, message.instructions))
        for part in message.parts:
            match part:
                case ToolReturnPart(tool_name=name, tool_call_id=id):
                    result = ToolResult(id=id, name=name, content=part.model_response_str())
                    turns.append(Turn(role=Role.TOOL, parts=(result,)))
                case RetryPromptPart(tool_name=str(name), tool_call_id=id):
                    result = ToolResult(id=id, name=name, content=part.model_response(), error=True)
                    turns.append(Turn(role=Role.TOOL, parts=(result,)))
                case ToolCallPart(tool_name=name, tool_call_id=id):
                    call = ToolCall(id=id, name=name, arguments=part.args_as_dict())
                    turns.append(Turn(role=Role.ASSISTANT, parts=(call,)))
                case TextPart(content=text):
                    turns.append(Turn(role=Role.ASSISTANT, parts=(Said(text=text),)))
                case SystemPromptPart(content=str(text)):
                    turns.append(turn(Role.SYSTEM, text))
                case UserPromptPart(content=str(text)):
                    turns.append(turn(Role.USER, text))
                case _:
                    raise NotImplementedError(f"a {part.part_kind} part: this adapter takes text and tools")
    return tuple(turns)


guest = PydanticAgent(
    deps_type=Deps,
    output_type=NativeOutput(Answer),
    instructions="Answer customers of a shop. Look orders up before you answer.",
)


@guest.tool
async def order_status(context: RunContext[Deps], order: int) -> str:
    """Where an order is, by its number."""
    deps = context.deps
    return await deps.desk.do(lambda: deps.ctx.tool(look_up, order))


agent = Agent("desk", tools=[look_up])


@agent.handles
async def answer(question: Question, ctx: Context) -> Answer:
    """Run the guest."""

    async def work(desk: Desk) -> Answer:
        # One tool at a time: tools that ran side by side might ask in another order in another attempt.
        with guest.parallel_tool_call_execution_mode("sequential"):
            run = await guest.run(question.text, deps=Deps(ctx=ctx, desk=desk), model=AntiphonModel(ctx, desk, Answer))
        return run.output

    return await hosted(work)


system = System("shop", agents=[agent])
