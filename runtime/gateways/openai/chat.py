"""Chunks of replies as a chat completion, whole or in pieces. Pure."""

import json
from collections.abc import Iterable, Iterator

from antiphon.runtime.gateways.openai.gathered import Gathered, ended, logprob, usage_of
from antiphon.schemas.inference import Chunk, Finish, TextChunk, TokenScores, ToolCall, ToolCallChunk
from antiphon.schemas.openai import (
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChatLogprobs,
    ChunkChoice,
    Delta,
    Ended,
    Function,
    Head,
    Likely,
    TokenLogprob,
    ToolCallObject,
    assistant_message,
)


class ChatAnswer:
    """An answer of ``n`` replies. ``scored``: log-probabilities were asked for."""

    def __init__(self, head: Head, n: int, *, scored: bool) -> None:
        self._head = head
        self._scored = scored
        self._replies = [Gathered() for _ in range(n)]

    def take(self, number: int, chunk: Chunk) -> None:
        """Add a chunk of a reply."""
        self._replies[number].take(chunk)

    def opening(self) -> Iterator[ChatChunk]:
        """The pieces that come before all text."""
        for number in range(len(self._replies)):
            yield self._piece(number, Delta(role="assistant", content=""))

    def piece(self, number: int, chunk: Chunk) -> ChatChunk:
        """The piece that a chunk, which was taken, makes."""
        match chunk:
            case TextChunk():
                return self._piece(number, Delta(content=chunk.text), tokens=chunk.tokens)
            case ToolCallChunk():
                call = _call(chunk.call)
                call["index"] = len(self._replies[number].calls) - 1
                return self._piece(number, Delta(tool_calls=[call]))
            case Finish():
                return self._piece(number, Delta(), ended(chunk))

    def usage(self) -> ChatChunk:
        """The last piece, if the caller asked for it."""
        used = usage_of(self._replies, each=len(self._replies))
        return ChatChunk(**self._head, object="chat.completion.chunk", choices=[], usage=used)

    def whole(self) -> ChatCompletion:
        """All of it; every reply has ended."""
        choices = [self._choice(number, reply) for number, reply in enumerate(self._replies)]
        used = usage_of(self._replies, each=len(self._replies))
        return ChatCompletion(**self._head, object="chat.completion", choices=choices, usage=used)

    def _choice(self, number: int, reply: Gathered) -> ChatChoice:
        assert reply.finish is not None
        calls = [_call(call) for call in reply.calls]
        return ChatChoice(
            index=number,
            message=assistant_message(reply.text or (None if calls else ""), calls),
            logprobs=self._logprobs(reply.tokens),
            finish_reason=ended(reply.finish),
        )

    def _piece(
        self, number: int, delta: Delta, finish_reason: Ended | None = None, tokens: Iterable[TokenScores] = ()
    ) -> ChatChunk:
        logprobs = self._logprobs(tokens) if tokens else None
        choice = ChunkChoice(index=number, delta=delta, logprobs=logprobs, finish_reason=finish_reason)
        return ChatChunk(**self._head, object="chat.completion.chunk", choices=[choice], usage=None)

    def _logprobs(self, tokens: Iterable[TokenScores]) -> ChatLogprobs | None:
        return ChatLogprobs(content=[_scores(token) for token in tokens], refusal=None) if self._scored else None


def _call(call: ToolCall) -> ToolCallObject:
    function = Function(name=call.name, arguments=json.dumps(call.arguments, ensure_ascii=False))
    return ToolCallObject(id=call.id, type="function", function=function)


def _scores(token: TokenScores) -> TokenLogprob:
    top = [Likely(token=other.text, logprob=logprob(other), bytes=list(other.bytes)) for other in token.top]
    return TokenLogprob(token=token.text, logprob=logprob(token), bytes=list(token.bytes), top_logprobs=top)
