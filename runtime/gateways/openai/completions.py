"""Chunks of replies as a completion of the older kind, whole or in pieces. Pure."""

from collections.abc import Iterable, Iterator

from antiphon.runtime.gateways.openai.gathered import Gathered, ended, logprob, usage_of
from antiphon.schemas.inference import Chunk, Finish, TextChunk, TokenScores
from antiphon.schemas.openai import Ended, Head, TextChoice, TextCompletion, TextLogprobs


class TextAnswer:
    """An answer of ``each`` replies to each of several prompts. ``scored``: log-probabilities were asked for."""

    def __init__(self, head: Head, replies: int, *, each: int, scored: bool) -> None:
        self._head = head
        self._each = each
        self._scored = scored
        self._replies = [Gathered() for _ in range(replies)]
        self._offsets = [0] * replies  # where the next token of each begins

    def take(self, number: int, chunk: Chunk) -> None:
        """Add a chunk of a reply."""
        self._replies[number].take(chunk)

    def opening(self) -> Iterator[TextCompletion]:
        """The pieces that come before all text: none."""
        return iter(())

    def piece(self, number: int, chunk: Chunk) -> TextCompletion:
        """The piece that a chunk, which was taken, makes."""
        text, tokens = (chunk.text, chunk.tokens) if isinstance(chunk, TextChunk) else ("", ())
        reason = ended(chunk) if isinstance(chunk, Finish) else None
        return self._completion([self._choice(number, text, tokens, reason)])

    def usage(self) -> TextCompletion:
        """The last piece, if the caller asked for it."""
        return TextCompletion(
            **self._head, object="text_completion", choices=[], usage=usage_of(self._replies, self._each)
        )

    def whole(self) -> TextCompletion:
        """All of it; every reply has ended."""
        choices = []
        for number, reply in enumerate(self._replies):
            assert reply.finish is not None
            choices.append(self._choice(number, reply.text, reply.tokens, ended(reply.finish)))
        found = self._completion(choices)
        found["usage"] = usage_of(self._replies, self._each)
        return found

    def _completion(self, choices: list[TextChoice]) -> TextCompletion:
        return TextCompletion(**self._head, object="text_completion", choices=choices, usage=None)

    def _choice(self, number: int, text: str, tokens: Iterable[TokenScores], reason: Ended | None) -> TextChoice:
        logprobs = self._logprobs(number, tokens) if self._scored else None
        return TextChoice(index=number, text=text, logprobs=logprobs, finish_reason=reason)

    def _logprobs(self, number: int, tokens: Iterable[TokenScores]) -> TextLogprobs:
        found = TextLogprobs(tokens=[], token_logprobs=[], top_logprobs=[], text_offset=[])
        for token in tokens:
            found["tokens"].append(token.text)
            found["token_logprobs"].append(logprob(token))
            found["top_logprobs"].append({other.text: logprob(other) for other in token.top})
            found["text_offset"].append(self._offsets[number])
            self._offsets[number] += len(token.text)
        return found
