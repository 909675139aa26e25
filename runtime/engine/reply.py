"""What the tokens of one request become: text, piece by piece, until something ends it."""

from antiphon.runtime.engine.grammar import Grammar
from antiphon.runtime.engine.request import Request, TokenEvent, TokenLogprob
from antiphon.runtime.engine.stop_strings import StopStrings
from antiphon.runtime.engine.tokenizer import IncrementalDecoder, Tokenizer
from antiphon.schemas.inference import FinishReason


class Reply:
    """Counts, decodes and ends. ``grammar`` is None for a request without a schema."""

    def __init__(self, request: Request, tokenizer: Tokenizer, *, most: int, grammar: Grammar | None) -> None:
        """``most``: tokens that fit, at most what the request asks for."""
        self.grammar = grammar
        self.tokens = 0
        self._id = request.id
        self._most = most
        self._stop_ids = tokenizer.stop_ids
        self._stops = StopStrings(request.sampling.stop)
        self._decoder = IncrementalDecoder(tokenizer)

    def take(self, token: int, logprob: TokenLogprob | None) -> tuple[TokenEvent, FinishReason | None]:
        """The event of the next token, and why the reply ends with it, if it does.

        A character that is incomplete at the end is dropped; what may have begun a stop string is shown after all.

        Raises:
            InvalidRequest: the schema is too complex to go on with.
        """
        self.tokens += 1
        text = ""
        reason = FinishReason.STOP if token in self._stop_ids else None
        if reason is None:
            if self.grammar is not None:
                self.grammar.consume((token,))
            text = self._stops.push(self._decoder.push(token))
            if self._stops.stopped or (self.grammar is not None and self.grammar.complete):
                reason = FinishReason.STOP
            elif self.tokens >= self._most:
                reason = FinishReason.LENGTH
        if reason is not None and not self._stops.stopped:
            text += self._stops.flush()
        return TokenEvent(request=self._id, token=token, text=text, logprob=logprob), reason
