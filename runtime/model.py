"""``ctx.model``: a model call as one traced operation of a handler, and the loop of model and tools."""

from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, TypeVar, Unpack, overload

from pydantic import ValidationError

from antiphon.runtime.delivery.model_call import ModelCall, Show
from antiphon.runtime.delivery.payload import decode, problems
from antiphon.runtime.errors import DeadlineExceeded, InvalidOutput, InvalidRequest
from antiphon.runtime.models.structured import message_of, output_schema
from antiphon.runtime.policies.chain import Operation, OperationKind
from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.tool import Tool
from antiphon.schemas.inference import (
    Embeddings,
    EmbedRequest,
    FinishReason,
    GenerateRequest,
    Reply,
    Role,
    Sampling,
    TextPart,
    ToolSpec,
    Turn,
    turn,
)
from antiphon.schemas.message import Message
from antiphon.schemas.task import Effect

if TYPE_CHECKING:
    from antiphon.runtime.context import Context

M = TypeVar("M", bound=Message)
Prompt = str | Sequence[Turn]

# Two calls that differ in these alone are the same. A server elsewhere may describe its tools anew at any time, which
# must not part a task from its journal.
_NOT_ITS_IDENTITY: Any = {
    **dict.fromkeys(("run", "task", "priority", "deadline_unix_ms"), True),
    "tools": {"__all__": {"description", "parameters"}},
}


class Conversation(Protocol):
    """What a session is to a model: the turns before this one, and a place for what is said now."""

    async def history(self) -> tuple[Turn, ...]:
        """Earlier turns, as a model is to see them."""
        ...

    async def append(self, *turns: Turn) -> None:
        """Keep new turns."""
        ...


class SamplingOptions(TypedDict, total=False):
    """How tokens are chosen, as ``schemas.inference.Sampling`` describes and defaults them."""

    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    seed: int | None
    stop: Sequence[str]


class Model:
    """A named model, as one handler run sees it."""

    __slots__ = ("_ctx", "_tools", "name")

    def __init__(self, ctx: "Context", name: str, tools: Mapping[str, Tool[..., Any]]) -> None:
        self._ctx = ctx
        self._tools = tools
        self.name = name

    def using(self, name: str) -> "Model":
        """The same door to another model of the settings."""
        return Model(self._ctx, name, self._tools)

    @overload
    def generate(
        self,
        output: type[str],
        prompt: Prompt,
        *,
        system: str | None = None,
        emit: bool = False,
        session: Conversation | None = None,
        **sampling: Unpack[SamplingOptions],
    ) -> Coroutine[Any, Any, str]: ...

    @overload
    def generate(
        self,
        output: type[M],
        prompt: Prompt,
        *,
        system: str | None = None,
        emit: bool = False,
        session: Conversation | None = None,
        **sampling: Unpack[SamplingOptions],
    ) -> Coroutine[Any, Any, M]: ...

    def generate(
        self,
        output: type[M] | type[str],
        prompt: Prompt,
        *,
        system: str | None = None,
        emit: bool = False,
        session: Conversation | None = None,
        **sampling: Unpack[SamplingOptions],
    ) -> Coroutine[Any, Any, M | str]:
        """The model's reply: text for ``str``, else a valid message of the given class.

        ``prompt`` is one user turn or a whole conversation. ``emit`` shows the reply to stream readers as it
        comes. Without ``temperature`` the choice is greedy; ``max_tokens`` is 256 unless said. ``session``: its
        turns come before the prompt, and prompt and reply are kept there when the reply is good.

        Raises:
            InvalidOutput: the reply is no valid message; retryable unless it would come out the same again.
            UnknownModel, ModelFileError, ModelUnavailable, ContextTooLong, InvalidRequest: see errors.
            DeadlineExceeded: time ran out while it generated.
        """
        chosen = _checked(sampling)
        if session is None:
            turns = (*_system(system), *_prompt(prompt))
            return self._value(self.reply(turns, output, chosen, emit=emit), output, chosen)
        return self._in_session(session, system, prompt, output, chosen, emit=emit)

    @overload
    def run(
        self,
        output: type[str],
        prompt: Prompt,
        *,
        max_steps: int = 8,
        system: str | None = None,
        emit: bool = False,
        session: Conversation | None = None,
        **sampling: Unpack[SamplingOptions],
    ) -> Coroutine[Any, Any, str]: ...

    @overload
    def run(
        self,
        output: type[M],
        prompt: Prompt,
        *,
        max_steps: int = 8,
        system: str | None = None,
        emit: bool = False,
        session: Conversation | None = None,
        **sampling: Unpack[SamplingOptions],
    ) -> Coroutine[Any, Any, M]: ...

    def run(
        self,
        output: type[M] | type[str],
        prompt: Prompt,
        *,
        max_steps: int = 8,
        system: str | None = None,
        emit: bool = False,
        session: Conversation | None = None,
        **sampling: Unpack[SamplingOptions],
    ) -> Coroutine[Any, Any, M | str]:
        """As ``generate``, and the model may use the agent's tools before it answers.

        The loop of model and tools: each model call and each tool run is one operation, tools that one turn asks for
        run together, and what goes wrong in a tool is told to the model. At most ``max_steps`` model calls are made.

        Raises:
            StepsExceeded: no answer in ``max_steps`` model calls.
            BudgetExceeded: the run may use no more; says how far the loop came.
            InvalidOutput: two corrections did not help.
            AntiphonError: as ``generate`` and ``ctx.tool``; what a tool itself raises goes to the model.
        """
        from antiphon.runtime.tool_loop import ToolLoop

        return ToolLoop(self._ctx, self, self._tools, max_steps=max_steps, emit=emit).answer(
            output, _system(system), _prompt(prompt), session, _checked(sampling)
        )

    def embed(self, texts: Sequence[str]) -> Coroutine[Any, Any, Embeddings]:
        """One vector a text. Raises InvalidRequest if the model does not embed, and as ``generate``."""
        scope = self._ctx.scope
        request = EmbedRequest(
            model=self.name,
            texts=tuple(texts),
            run=scope.run,
            task=scope.task or None,
            deadline_unix_ms=scope.deadline_unix_ms,
        )
        return self._embeddings(self._operation(request, emit=False))

    def reply(
        self,
        turns: tuple[Turn, ...],
        output: type[Message] | type[str],
        sampling: Sampling,
        *,
        tools: tuple[ToolSpec, ...] = (),
        emit: bool,
    ) -> Coroutine[Any, Any, Reply]:
        """One model call: the whole reply, whatever it says. Raises as ``generate``, but for the reply itself."""
        scope = self._ctx.scope
        request = GenerateRequest(
            model=self.name,
            conversation=turns,
            tools=tools,
            output=output_schema(output) if issubclass(output, Message) else None,
            sampling=sampling,
            run=scope.run,
            task=scope.task or None,
            priority=scope.priority,
            deadline_unix_ms=scope.deadline_unix_ms,
        )
        return self._reply(self._operation(request, emit=emit))

    async def _in_session(
        self,
        session: Conversation,
        system: str | None,
        prompt: Prompt,
        output: type[M] | type[str],
        sampling: Sampling,
        *,
        emit: bool,
    ) -> M | str:
        asked = _prompt(prompt)
        turns = (*_system(system), *await session.history(), *asked)
        reply = await self.reply(turns, output, sampling, emit=emit)
        value = value_of(reply, output, sampling)
        await session.append(*asked, assistant_turn(reply))
        return value

    async def _value(
        self, call: Coroutine[Any, Any, Reply], output: type[M] | type[str], sampling: Sampling
    ) -> M | str:
        return value_of(await call, output, sampling)

    async def _reply(self, operation: Operation) -> Reply:
        reply: Reply = (await self._ctx.perform(operation)).value
        return reply

    async def _embeddings(self, operation: Operation) -> Embeddings:
        embeddings: Embeddings = (await self._ctx.perform(operation)).value
        return embeddings

    def _operation(self, request: GenerateRequest | EmbedRequest, *, emit: bool) -> Operation:
        return model_operation(self._ctx, request, show=self._ctx.show if emit else None)


def model_operation(
    ctx: "Context", request: GenerateRequest | EmbedRequest, *, show: Show | None = None, path: str = ""
) -> Operation:
    """A model call as an operation of ``ctx``, the next one or at ``path``."""
    repeatable = isinstance(request, EmbedRequest) or _repeatable(request.sampling)
    operation = ctx.operation(
        OperationKind.MODEL,
        request.model,
        request.model_dump_json(exclude=_NOT_ITS_IDENTITY).encode(),
        effect=Effect.PURE if repeatable else Effect.READ,
        request=ModelCall(request=request, show=show),
        path=path,
    )
    embeds = isinstance(request, EmbedRequest)
    operation.restore = partial(decode, Embeddings if embeds else Reply)
    operation.attributes[names.GENAI_OPERATION] = "embeddings" if embeds else "chat"
    return operation


def value_of(reply: Reply, output: type[M] | type[str], sampling: Sampling) -> M | str:
    """What a reply says, as the caller wants it.

    Raises:
        InvalidOutput: it is no valid message; retryable unless it would come out the same again.
        DeadlineExceeded: time ran out while it was generated.
    """
    if issubclass(output, Message):
        try:
            return message_of(reply, output)
        except InvalidOutput as error:
            error.retryable = not _repeatable(sampling)  # else every attempt would get the same reply
            raise
    finish = reply.finish
    if finish.reason is FinishReason.CANCELLED:
        raise DeadlineExceeded(f"{finish.model}: time ran out after {finish.usage.output_tokens} tokens")
    return reply.text


def assistant_turn(reply: Reply) -> Turn:
    """A reply as a turn of the conversation that goes on."""
    text = (TextPart(text=reply.text),) if reply.text or not reply.tool_calls else ()
    return Turn(role=Role.ASSISTANT, parts=(*text, *reply.tool_calls), segment="reply")


def _prompt(prompt: Prompt) -> tuple[Turn, ...]:
    return (turn(Role.USER, prompt, segment="user"),) if isinstance(prompt, str) else tuple(prompt)


def _system(text: str | None) -> tuple[Turn, ...]:
    return () if text is None else (turn(Role.SYSTEM, text, segment="system"),)


def _checked(options: SamplingOptions) -> Sampling:
    try:
        return Sampling.model_validate(options)
    except ValidationError as error:
        raise InvalidRequest(f"sampling: {problems(error)}") from None


def _repeatable(sampling: Sampling) -> bool:
    """Whether the same request is meant to give the same tokens."""
    return sampling.temperature == 0 or sampling.seed is not None
