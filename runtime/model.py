"""``ctx.model``: a model call as one traced operation of a handler."""

from collections.abc import Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack, overload

from pydantic import ValidationError

from antiphon.runtime.delivery.model_call import ModelCall
from antiphon.runtime.delivery.payload import decode, problems
from antiphon.runtime.errors import DeadlineExceeded, InvalidOutput, InvalidRequest
from antiphon.runtime.models.structured import message_of, output_schema
from antiphon.runtime.policies.chain import Operation, OperationKind
from antiphon.schemas.inference import (
    Embeddings,
    EmbedRequest,
    FinishReason,
    GenerateRequest,
    Reply,
    Role,
    Sampling,
    Turn,
    turn,
)
from antiphon.schemas.message import Message
from antiphon.schemas.task import Effect

if TYPE_CHECKING:
    from antiphon.runtime.context import Context

M = TypeVar("M", bound=Message)
Prompt = str | Sequence[Turn]


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

    __slots__ = ("_ctx", "name")

    def __init__(self, ctx: "Context", name: str) -> None:
        self._ctx = ctx
        self.name = name

    def using(self, name: str) -> "Model":
        """The same door to another model of the settings."""
        return Model(self._ctx, name)

    @overload
    def generate(
        self,
        output: type[str],
        prompt: Prompt,
        *,
        system: str | None = None,
        emit: bool = False,
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
        **sampling: Unpack[SamplingOptions],
    ) -> Coroutine[Any, Any, M]: ...

    def generate(
        self,
        output: type[M] | type[str],
        prompt: Prompt,
        *,
        system: str | None = None,
        emit: bool = False,
        **sampling: Unpack[SamplingOptions],
    ) -> Coroutine[Any, Any, M | str]:
        """The model's reply: text for ``str``, else a valid message of the given class.

        ``prompt`` is one user turn or a whole conversation. ``emit`` shows the reply to stream readers as it
        comes. Without ``temperature`` the choice is greedy; ``max_tokens`` is 256 unless said.

        Raises:
            InvalidOutput: the reply is no valid message; retryable unless it would come out the same again.
            UnknownModel, ModelFileError, ModelUnavailable, ContextTooLong, InvalidRequest: see errors.
            DeadlineExceeded: time ran out while it generated.
        """
        turns = (turn(Role.USER, prompt, segment="user"),) if isinstance(prompt, str) else tuple(prompt)
        if system is not None:
            turns = (turn(Role.SYSTEM, system, segment="system"), *turns)
        scope = self._ctx.scope
        request = GenerateRequest(
            model=self.name,
            conversation=turns,
            output=output_schema(output) if issubclass(output, Message) else None,
            sampling=_checked(sampling),
            run=scope.run,
            task=scope.task or None,
            priority=scope.priority,
            deadline_unix_ms=scope.deadline_unix_ms,
        )
        return self._reply(self._operation(request, emit=emit), output, request.sampling)

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

    async def _reply(self, operation: Operation, output: type[M] | type[str], sampling: Sampling) -> M | str:
        reply: Reply = (await self._ctx.perform(operation)).value
        if issubclass(output, Message):
            try:
                return message_of(reply, output)
            except InvalidOutput as error:
                error.retryable = not _repeatable(sampling)  # else every attempt would get the same reply
                raise
        if reply.finish.reason is FinishReason.CANCELLED:
            raise DeadlineExceeded(f"model {self.name}: time ran out after {reply.finish.usage.output_tokens} tokens")
        return reply.text

    async def _embeddings(self, operation: Operation) -> Embeddings:
        embeddings: Embeddings = (await self._ctx.perform(operation)).value
        return embeddings

    def _operation(self, request: GenerateRequest | EmbedRequest, *, emit: bool) -> Operation:
        repeatable = isinstance(request, EmbedRequest) or _repeatable(request.sampling)
        operation = self._ctx.operation(
            OperationKind.MODEL,
            request.model,
            request.model_dump_json(exclude={"run", "task", "priority", "deadline_unix_ms"}).encode(),
            effect=Effect.PURE if repeatable else Effect.READ,
            request=ModelCall(request=request, show=self._ctx.show if emit else None),
        )
        operation.restore = partial(decode, Embeddings if isinstance(request, EmbedRequest) else Reply)
        return operation


def _checked(options: SamplingOptions) -> Sampling:
    try:
        return Sampling.model_validate(options)
    except ValidationError as error:
        raise InvalidRequest(f"sampling: {problems(error)}") from None


def _repeatable(sampling: Sampling) -> bool:
    """Whether the same request is meant to give the same tokens."""
    return sampling.temperature == 0 or sampling.seed is not None
