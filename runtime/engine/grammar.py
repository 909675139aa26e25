"""A JSON schema as the set of tokens that may come next (llguidance)."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from numpy.typing import NDArray

from antiphon.runtime.engine.tokenizer import Tokenizer
from antiphon.runtime.errors import InvalidRequest

# Of a schema's lexer, 1 to 2 KB each; a free string with a pattern takes some hundred.
_MOST_STATES = 50_000


@dataclass(slots=True, kw_only=True)
class _Compiled:
    """A schema at its beginning. Copies share what they learn of it, and a limit that one of them exceeds."""

    matcher: LLMatcher
    broken: bool = False


class Grammar:
    """Where one reply stands in its schema. One thread at a time."""

    def __init__(self, compiled: _Compiled, *, words: int, stop_ids: frozenset[int]) -> None:
        self._compiled = compiled
        self._matcher = compiled.matcher.deep_copy()
        self._words = words
        self._stop_ids = stop_ids

    @property
    def complete(self) -> bool:
        """Whether the reply fits the schema and nothing but its end may follow."""
        return self._matcher.is_stopped()

    def masks(self, drafts: Sequence[int] = ()) -> NDArray[np.int32]:
        """The tokens that may come now and after each of ``drafts``, which must be allowed.

        [1 + drafts, ceil(vocabulary / 32)]; bit ``token % 32`` of word ``token // 32``.

        Raises:
            InvalidRequest: the schema is too complex to go on with, or a draft is not allowed.
        """
        masks = np.empty((1 + len(drafts), self._words), dtype=np.int32)
        address = masks.ctypes.data
        for index in range(len(masks)):
            self._matcher.unsafe_compute_mask_ptr(address + index * masks.strides[0], masks.strides[0])
            if index < len(drafts):
                self._matcher.consume_token(drafts[index])
        self._check()
        if drafts:
            self._matcher.rollback(len(drafts))
        return masks

    def allowed(self, drafts: Sequence[int]) -> int:
        """How many of ``drafts``, from the first on, may come one after the other; none from a stop token on."""
        return self._matcher.validate_tokens(list(takewhile(lambda token: token not in self._stop_ids, drafts)))

    def forced(self) -> tuple[int, ...]:
        """What the schema leaves no choice about, in the tokenizer's own words: drafts that cost nothing to make."""
        return tuple(self._matcher.compute_ff_tokens())

    def consume(self, tokens: Sequence[int]) -> None:
        """Take ``tokens``, each allowed where it stands.

        Raises:
            InvalidRequest: one is not allowed, or the schema is too complex to go on with.
        """
        self._matcher.consume_tokens(list(tokens))
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            self._compiled.broken = True
            raise InvalidRequest(f"output schema: the grammar cannot go on: {self._matcher.get_error()}")


class GrammarCompiler:
    """Compiles schemas for one tokenizer, on a thread of its own; keeps the last ``keep`` schemas."""

    def __init__(self, tokenizer: Tokenizer, vocabulary: int, *, keep: int = 64) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._keep = keep
        self._compiled: OrderedDict[bytes, _Compiled] = OrderedDict()  # only on the thread
        self._words: LLTokenizer | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="grammar")

    def compile(self, json_schema: Mapping[str, Any]) -> Future[Grammar]:
        """A grammar at its beginning, once it is ready.

        The future raises InvalidRequest for what is not a JSON schema and for keywords llguidance does not know.
        """
        return self._thread.submit(self._compile, json_schema)

    def close(self) -> None:
        """Give up what is not compiled yet; its futures are cancelled. One that is being compiled is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _compile(self, json_schema: Mapping[str, Any]) -> Grammar:
        try:
            text = json.dumps(json_schema)
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidRequest(f"output schema: {error}; expected a JSON schema object") from error
        digest = hashlib.sha256(text.encode()).digest()
        compiled = self._compiled.pop(digest, None)
        if compiled is None or compiled.broken:
            compiled = _Compiled(matcher=self._matcher(text))
        self._compiled[digest] = compiled
        if len(self._compiled) > self._keep:
            self._compiled.popitem(last=False)
        return Grammar(compiled, words=(self._vocabulary + 31) // 32, stop_ids=self._tokenizer.stop_ids)

    def _matcher(self, schema: str) -> LLMatcher:
        if self._words is None:
            # A third of a second for 49k tokens: by the first request that needs it.
            self._words = LLTokenizer(
                self._tokenizer.to_json(),
                n_vocab=self._vocabulary,
                eos_token=sorted(self._tokenizer.stop_ids),
                slices=LLTokenizer.json_slices(),
            )
        try:
            grammar = LLMatcher.grammar_from_json_schema(
                schema,
                # Compact separators and no other whitespace: small models emit it without end.
                overrides={"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"},
            )
        except ValueError as error:
            raise InvalidRequest(f"output schema: {error}; expected a JSON schema object") from error
        limits = LLParserLimits(max_lexer_states=_MOST_STATES, verbose_errors=False)
        matcher = LLMatcher(self._words, grammar, log_level=0, limits=limits)
        if matcher.is_error():
            raise InvalidRequest(f"output schema: {matcher.get_error()}; expected a JSON schema llguidance supports")
        return matcher
