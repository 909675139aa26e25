"""What has come of a reply so far. Pure."""

from collections.abc import Sequence
from typing import Final

from antiphon.schemas.inference import (
    Chunk,
    Finish,
    FinishReason,
    TextChunk,
    TokenScore,
    TokenScores,
    ToolCall,
    ToolCallChunk,
)
from antiphon.schemas.openai import CachedTokens, Ended, UsageObject

LEAST_LOGPROB: Final = -9999.0  # how OpenAI writes what is impossible; JSON has no infinity

_ENDED: Final[dict[FinishReason, Ended]] = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.TOOL_CALLS: "tool_calls",
}


class Gathered:
    """One reply. ``finish`` is None until it has ended."""

    def __init__(self) -> None:
        self.calls: list[ToolCall] = []
        self.tokens: list[TokenScores] = []
        self.finish: Finish | None = None
        self._texts: list[str] = []

    def take(self, chunk: Chunk) -> None:
        """Add a chunk."""
        match chunk:
            case TextChunk():
                self._texts.append(chunk.text)
                self.tokens += chunk.tokens
            case ToolCallChunk():
                self.calls.append(chunk.call)
            case Finish():
                self.finish = chunk

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self._texts)


def ended(finish: Finish) -> Ended:
    """Why, in OpenAI's words; one whose time ran out is an error and never comes here."""
    return _ENDED[finish.reason]


def logprob(score: TokenScore) -> float:
    """As JSON can say it."""
    return max(score.logprob, LEAST_LOGPROB)


def usage_of(replies: Sequence[Gathered], each: int) -> UsageObject:
    """What all replies used: ``each`` to the first prompt, as many to the second, …

    A prompt counts once, with the cached tokens of its first reply: the others share it by their nature.
    """
    used = [reply.finish.usage for reply in replies if reply.finish is not None]
    prompts = used[::each]
    read, written = sum(usage.input_tokens for usage in prompts), sum(usage.output_tokens for usage in used)
    cached = [usage.cached_tokens for usage in prompts if usage.cached_tokens is not None]
    return UsageObject(
        prompt_tokens=read,
        completion_tokens=written,
        total_tokens=read + written,
        prompt_tokens_details=CachedTokens(cached_tokens=sum(cached)) if cached else None,
    )
