"""From chunks to a whole reply, and from a whole reply to a typed message."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from pydantic import ValidationError

from antiphon.runtime.errors import DeadlineExceeded, InvalidOutput, ModelUnavailable
from antiphon.schemas.inference import (
    Chunk,
    Finish,
    FinishReason,
    OutputSchema,
    Reply,
    TextChunk,
    ToolCall,
    ToolCallChunk,
)
from antiphon.schemas.message import Message

M = TypeVar("M", bound=Message)


async def collect(
    stream: AsyncGenerator[Chunk, None], watch: Callable[[Chunk], Awaitable[None]] | None = None
) -> Reply:
    """The whole reply; ``watch`` sees each chunk as it comes. The stream is closed whatever happens.

    Raises:
        ModelError: what the stream raises.
        ModelUnavailable: it ended without a Finish, which no instance may do.
    """
    text: list[str] = []
    calls: list[ToolCall] = []
    async with aclosing(stream):
        async for chunk in stream:
            if watch is not None:
                await watch(chunk)
            match chunk:
                case TextChunk():
                    text.append(chunk.text)
                case ToolCallChunk():
                    calls.append(chunk.call)
                case Finish():
                    return Reply(text="".join(text), tool_calls=tuple(calls), finish=chunk)
    raise ModelUnavailable("the reply ended without saying how: the instance is at fault; ask again")


def output_schema(type_: type[Message]) -> OutputSchema:
    """What a reply must fit to be a ``type_``."""
    return OutputSchema(name=type_.message_name, json_schema=type_.model_json_schema())


def message_of(reply: Reply, type_: type[M]) -> M:
    """The reply as a ``type_``.

    Raises:
        InvalidOutput: it is cut or does not fit; says what came.
        DeadlineExceeded: time ran out while it was generated.
    """
    text, finish = reply.text, reply.finish
    wanted = f"{finish.model or 'the model'}: expected a {type_.message_name}"
    if finish.reason is FinishReason.CANCELLED:
        raise DeadlineExceeded(f"{wanted}, time ran out after {finish.usage.output_tokens} tokens; allow more time")
    try:
        return type_.model_validate_json(text)
    except ValidationError as error:
        came = repr(text[:200]) + ("…" if len(text) > 200 else "")
        if finish.reason is FinishReason.LENGTH:
            raise InvalidOutput(
                f"{wanted}, the reply was cut after {finish.usage.output_tokens} tokens: {came}; raise max_tokens",
                output_tokens=finish.usage.output_tokens,
            ) from None
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise InvalidOutput(
            f"{wanted}, {where} does not fit ({first['msg']}): {came}; ask again or use a better model"
        ) from None
