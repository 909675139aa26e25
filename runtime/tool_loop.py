"""The loop of model and tools behind ``ctx.model.run``.

Everything it does is an operation of the handler: in durable work each model call and each tool run is one journal
entry, and what the loop itself decides follows from their results alone. So another attempt goes the same way.
"""

import json
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import TypeAdapter

from antiphon.runtime.errors import (
    AntiphonError,
    BudgetExceeded,
    ConfigurationError,
    HandlerFailed,
    InvalidArguments,
    InvalidOutput,
    InvalidResult,
    Refused,
    StepsExceeded,
    ToolError,
    to_info,
)
from antiphon.runtime.model import Conversation, Model, assistant_turn, value_of
from antiphon.runtime.models.structured import output_schema
from antiphon.runtime.tool import Tool
from antiphon.schemas.inference import FinishReason, Reply, Role, Sampling, ToolCall, ToolResult, Turn, turn
from antiphon.schemas.message import Message

if TYPE_CHECKING:
    from collections.abc import Mapping

    from antiphon.runtime.context import Context

M = TypeVar("M", bound=Message)

MAX_RESULT: Final = 16_384  # characters of a tool's result that a model reads: about 4,000 tokens
MAX_ERROR: Final = 1_000  # of an error: shorter than what the journal keeps of one
MAX_CORRECTIONS: Final = 2  # of a reply that is no answer
_CORRECTION: Final = "correction"  # the segment of turns about a reply that was none: no session keeps them
# Ours that are about the tool's own work. All others end the loop: no model can mend a lost lease or an empty budget.
_READABLE: Final = (ToolError, InvalidResult, HandlerFailed, Refused)
_ANY: TypeAdapter[Any] = TypeAdapter(Any)


class ToolLoop:
    """One run of the loop, for one answer."""

    def __init__(
        self, ctx: "Context", model: Model, tools: "Mapping[str, Tool[..., Any]]", *, max_steps: int, emit: bool
    ) -> None:
        if max_steps < 1:
            raise ConfigurationError(f"max_steps is {max_steps}, expected 1 or more")
        self._ctx = ctx
        self._model = model
        self._tools = tools
        self._max_steps = max_steps
        self._emit = emit
        self._steps = 0
        self._used: list[str] = []  # names of the tools whose runs were begun, in order

    async def answer(
        self,
        output: type[M] | type[str],
        system: tuple[Turn, ...],
        asked: tuple[Turn, ...],
        session: Conversation | None,
        sampling: Sampling,
    ) -> M | str:
        """The model's answer; a session has the question, the tool turns and the answer then. Raises as ``run``."""
        earlier = () if session is None else await session.history()
        said = list(asked)
        try:
            value = await self._converse(output, (*system, *earlier), said, sampling)
        except BudgetExceeded as error:
            raise BudgetExceeded(
                f"{error.message} ({self._how_far()})", **{**error.details, **self._counts()}
            ) from error
        if session is not None:
            await session.append(*(each for each in said if each.segment != _CORRECTION))
        return value

    async def _converse(
        self, output: type[M] | type[str], before: tuple[Turn, ...], said: list[Turn], sampling: Sampling
    ) -> M | str:
        """Let ``said`` grow until there is an answer."""
        specs = tuple(tool.spec() for tool in self._tools.values())
        corrections = 0
        while self._steps < self._max_steps:
            self._steps += 1
            reply: Reply | None = None
            try:
                # Some endpoints can force a reply to fit only while there are no tools: the last try.
                tools = specs if corrections < MAX_CORRECTIONS else ()
                reply = await self._model.reply((*before, *said), output, sampling, tools=tools, emit=self._emit)
                if not reply.tool_calls:
                    value = value_of(reply, output, sampling)
                    if not reply.text.strip():
                        raise InvalidOutput(f"{self._model.name}: the reply is empty, neither answer nor tool call")
                    said.append(assistant_turn(reply))
                    return value
            except InvalidOutput as error:
                if corrections == MAX_CORRECTIONS or (reply is not None and _is_cut(reply)):
                    raise
                corrections += 1
                said += _correction(reply, output, error)
                continue
            corrections = 0
            said.append(assistant_turn(reply))
            results = await self._ctx.gather(*(self._run(call) for call in reply.tool_calls))
            said.append(Turn(role=Role.TOOL, parts=tuple(results), segment="tools"))
        raise StepsExceeded(
            f"model {self._model.name}: no answer in max_steps={self._max_steps} ({self._how_far()}); allow more, "
            "ask for less, or say in the prompt when to answer",
            **self._counts(),
        )

    async def _run(self, call: ToolCall) -> ToolResult:
        """What the tool answered, or what went wrong in it. Raises what is about the task and not about the tool."""
        try:
            content = await self._content(call)
        except Exception as error:
            if isinstance(error, AntiphonError) and not isinstance(error, _READABLE):
                raise
            reason = _readable(error)
            self._ctx.log.info("tool_error_told_to_model", tool=call.name, step=self._steps, error=reason)
            return ToolResult(id=call.id, name=call.name, content=reason, error=True)
        return ToolResult(id=call.id, name=call.name, content=content)

    async def _content(self, call: ToolCall) -> str:
        tool = self._tools.get(call.name)
        if tool is None:
            known = ", ".join(sorted(self._tools)) or "none"
            raise InvalidArguments(f"there is no tool {call.name!r}; there are: {known}", tool=call.name)
        arguments = tool.validated(call.arguments)
        self._used.append(tool.name)
        value = await self._ctx.tool(tool, **arguments)
        body = _ANY.dump_json(value)
        tool.schema.check_result(body)
        return _shortened(value if isinstance(value, str) else body.decode())

    def _how_far(self) -> str:
        return f"ctx.model.run had begun {self._steps} model calls and {len(self._used)} tool runs"

    def _counts(self) -> dict[str, str]:
        return {"steps": str(self._steps), "tool_calls": str(len(self._used)), "tools": ",".join(self._used)}


def _is_cut(reply: Reply) -> bool:
    """More of the same would be cut again."""
    return reply.finish.reason is FinishReason.LENGTH


def _correction(reply: Reply | None, output: type[Message] | type[str], error: InvalidOutput) -> list[Turn]:
    """What came, if it could be read, and what is wrong with it."""
    came = [] if reply is None else [assistant_turn(reply).model_copy(update={"segment": _CORRECTION})]
    wanted = "in plain text"
    if issubclass(output, Message):
        schema = json.dumps(output_schema(output).json_schema, ensure_ascii=False)
        wanted = f"with JSON that fits this schema and nothing else: {schema}"
    text = f"That reply cannot be used ({_short(error.message)}). Use a tool, or answer {wanted}"
    return [*came, turn(Role.USER, text, segment=_CORRECTION)]


def _readable(error: Exception) -> str:
    """The error for a model: the same text in every attempt, though a foreign one comes back as another class."""
    info = to_info(error)
    return _short(info.message if isinstance(error, AntiphonError) else f"{info.type}: {info.message}")


def _short(text: str) -> str:
    return text if len(text) <= MAX_ERROR else text[:MAX_ERROR] + "…"


def _shortened(text: str) -> str:
    """A result that is too long for a prompt, cut, with a note that says so."""
    if len(text) <= MAX_RESULT:
        return text
    return f"{text[:MAX_RESULT]}\n[cut: these are the first {MAX_RESULT} of {len(text)} characters; ask for less]"
