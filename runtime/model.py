"""``ctx.model``: a model call as one traced operation of a handler."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar, overload

from antiphon.runtime.delivery.model_call import ModelCall
from antiphon.runtime.errors import DeadlineExceeded, InvalidOutput
from antiphon.runtime.models.structured import message_of, output_schema
from antiphon.runtime.policies.chain import OperationKind, Outcome
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
    async def generate(
        self,
        output: type[str],
        prompt: Prompt,
        *,
        system: str | None = None,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        seed: int | None = None,
        stop: Sequence[str] = (),
        emit: bool = False,
    ) -> str: ...

    @overload
    async def generate(
        self,
        output: type[M],
        prompt: Prompt,
        *,
        system: str | None = None,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        seed: int | None = None,
        stop: Sequence[str] = (),
        emit: bool = False,
    ) -> M: ...

    async def generate(
        self,
        output: type[M] | type[str],
        prompt: Prompt,
        *,
        system: str | None = None,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        seed: int | None = None,
        stop: Sequence[str] = (),
        emit: bool = False,
    ) -> M | str:
        """The model's reply: text for ``str``, else a valid message of the given class.

        ``prompt`` is one user turn or a whole conversation. ``emit`` shows the reply to stream readers as it
        comes. Temperature 0 is greedy.

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
            sampling=Sampling(
                temperature=temperature, top_p=top_p, top_k=top_k, seed=seed, max_tokens=max_tokens, stop=tuple(stop)
            ),
            run=scope.run,
            task=scope.task or None,
            priority=scope.priority,
            deadline_unix_ms=scope.deadline_unix_ms,
        )
        reply: Reply = (await self._perform(request, emit=emit)).value
        if issubclass(output, Message):
            try:
                return message_of(reply, output)
            except InvalidOutput as error:
                error.retryable = not _repeatable(request.sampling)  # else every attempt would get the same reply
                raise
        if reply.finish.reason is FinishReason.CANCELLED:
            raise DeadlineExceeded(f"model {self.name}: time ran out after {reply.finish.usage.output_tokens} tokens")
        return reply.text

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        """One vector a text. Raises InvalidRequest if the model does not embed, and as ``generate``."""
        scope = self._ctx.scope
        request = EmbedRequest(
            model=self.name,
            texts=tuple(texts),
            run=scope.run,
            task=scope.task or None,
            deadline_unix_ms=scope.deadline_unix_ms,
        )
        outcome = await self._perform(request, emit=False)
        embeddings: Embeddings = outcome.value
        return embeddings

    async def _perform(self, request: GenerateRequest | EmbedRequest, *, emit: bool) -> Outcome:
        ctx = self._ctx
        repeatable = isinstance(request, EmbedRequest) or _repeatable(request.sampling)
        operation = ctx.operation(
            OperationKind.MODEL,
            request.model,
            request.model_dump_json(exclude={"run", "task", "priority", "deadline_unix_ms"}).encode(),
            effect=Effect.PURE if repeatable else Effect.READ,
            request=ModelCall(request=request, show=ctx.emit if emit else None),
        )
        return await ctx.perform(operation)


def _repeatable(sampling: Sampling) -> bool:
    """Whether the same request is meant to give the same tokens."""
    return sampling.temperature == 0 or sampling.seed is not None
