"""A JSON schema as the set of tokens that may come next (llguidance)."""

import json
from collections.abc import Mapping
from typing import Any

from llguidance import LLMatcher, LLTokenizer

from antiphon.runtime.engine.tokenizer import Tokenizer
from antiphon.runtime.errors import InvalidRequest


class Grammar:
    """Where one reply stands in its schema."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    def allowed(self) -> bytes:
        """One byte a token of the vocabulary, zero where it must not come next."""
        mask: bytes = self._matcher.compute_logit_bias()
        self._check()
        return mask

    def consume(self, token: int) -> bool:
        """Take ``token``, one of the allowed; whether the reply is now complete and cannot go on."""
        self._matcher.consume_token(token)
        self._check()
        return self._matcher.is_stopped()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise InvalidRequest(f"output schema: the grammar cannot go on: {self._matcher.get_error()}")


class GrammarCompiler:
    """Compiles schemas for one tokenizer. Making one takes a third of a second for 49k tokens: make it once."""

    def __init__(self, tokenizer: Tokenizer, vocabulary: int) -> None:
        self._tokenizer = LLTokenizer(
            tokenizer.to_json(),
            n_vocab=vocabulary,
            eos_token=sorted(tokenizer.stop_ids),
            slices=LLTokenizer.json_slices(),
        )

    def compile(self, json_schema: Mapping[str, Any]) -> Grammar:
        """A grammar at its beginning. Compact separators and no other whitespace: small models emit it without end.

        Raises:
            InvalidRequest: not a JSON schema, or one with keywords llguidance does not know.
        """
        try:
            text = LLMatcher.grammar_from_json_schema(
                json.dumps(json_schema),
                overrides={"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"},
            )
        except (ValueError, TypeError) as error:
            raise InvalidRequest(f"output schema: {error}; expected a JSON schema object") from error
        matcher = LLMatcher(self._tokenizer, text, log_level=0)
        if matcher.is_error():
            raise InvalidRequest(f"output schema: {matcher.get_error()}; expected a JSON schema llguidance supports")
        return Grammar(matcher)
