"""Loads a checkpoint and answers requests, one at a time, on the thread that iterates."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import torch

from antiphon.runtime.clock import Clock, SystemClock
from antiphon.runtime.engine.architectures.llama import Llama
from antiphon.runtime.engine.checkpoint import Checkpoint, open_checkpoint
from antiphon.runtime.engine.device import choose_place
from antiphon.runtime.engine.grammar import Grammar, GrammarCompiler
from antiphon.runtime.engine.kv_cache import KvCache
from antiphon.runtime.engine.prompt_blocks import prompt_blocks
from antiphon.runtime.engine.request import Request, TokenEvent
from antiphon.runtime.engine.sampler import Sampler
from antiphon.runtime.engine.stop_strings import StopStrings
from antiphon.runtime.engine.tokenizer import IncrementalDecoder, Tokenizer
from antiphon.runtime.errors import ContextTooLong, InvalidRequest, ModelFileError
from antiphon.schemas.inference import Finish, FinishReason, Timing, Turn, Usage

# Prefill goes in chunks, always from multiples of this, so that cancellation is noticed within one and a reused prefix
# leaves the shapes of all later products, and with them the result, bit for bit as they were.
CHUNK_TOKENS = 256


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """Keys and values of the last request: ``prompt`` is the part that was computed in whole chunks."""

    prompt: tuple[int, ...]
    cache: KvCache


class Engine:
    """A model in memory, its tokenizer, and the prompt prefix of the last request.

    Not safe for several threads at once; generators of one thread may interleave.
    """

    def __init__(self, checkpoint: Checkpoint, *, dtype: torch.dtype, device: torch.device, clock: Clock) -> None:
        self.config = checkpoint.config
        self.tokenizer: Tokenizer = checkpoint.tokenizer
        self.model = Llama(checkpoint.config, checkpoint.weights, dtype, device)
        self._template = checkpoint.template
        self._clock = clock
        self._grammars: GrammarCompiler | None = None
        self._kept: _Kept | None = None

    @classmethod
    def load(cls, path: Path, *, dtype: str = "auto", threads: int = 1, clock: Clock | None = None) -> Self:
        """Read the checkpoint at ``path`` and place it on the accelerator if there is one.

        ``dtype`` and ``threads`` as ``choose_place`` takes them.

        Raises:
            ConfigurationError: an unknown dtype or fewer than one thread.
            ModelFileError: nothing there, damaged, or not supported.
        """
        place = choose_place(dtype, threads)
        return cls(open_checkpoint(path), dtype=place.dtype, device=place.device, clock=clock or SystemClock())

    def encode(self, conversation: Sequence[Turn]) -> tuple[int, ...]:
        """The conversation as a prompt, by the checkpoint's chat template.

        Raises:
            InvalidRequest: the template refuses the conversation, or a turn has parts other than text.
            ModelFileError: there is no template, or it fails.
        """
        if self._template is None:
            raise ModelFileError("this checkpoint has no chat template; expected an instruction-tuned model")
        today = datetime.fromtimestamp(self._clock.unix_ns() / 1e9, UTC)
        return tuple(self._template.encode(conversation, today=today))

    def generate(self, request: Request, cancelled: threading.Event | None = None) -> Iterator[TokenEvent | Finish]:
        """Events of the reply as they are computed, the last one a Finish.

        ``cancelled`` and the deadline are looked at before each chunk of the prompt and between tokens.

        Raises:
            ContextTooLong: the prompt leaves no room for one token.
            InvalidRequest: an empty prompt, or a schema that cannot be compiled.
        """
        prompt = request.prompt
        if not prompt:
            raise InvalidRequest("found an empty prompt, expected one token or more")
        if len(prompt) >= self.config.context_tokens:
            raise ContextTooLong(
                f"found a prompt of {len(prompt)} tokens, expected fewer than this model's "
                f"{self.config.context_tokens}; shorten the conversation",
                prompt_tokens=len(prompt),
                context_tokens=self.config.context_tokens,
            )
        yield from self._run(request, self._grammar(request), cancelled or threading.Event())

    def _run(
        self, request: Request, grammar: Grammar | None, cancelled: threading.Event
    ) -> Iterator[TokenEvent | Finish]:
        prompt, sampling = request.prompt, request.sampling
        limit = min(sampling.max_tokens, self.config.context_tokens - len(prompt))
        began_s = self._clock.monotonic_s()
        first_s: float | None = None
        cache = self._take_cache(prompt)
        cached = cache.length
        produced = 0
        reason = FinishReason.CANCELLED
        sampler, stops, decoder = Sampler(sampling), StopStrings(sampling.stop), IncrementalDecoder(self.tokenizer)
        pending: Sequence[int] = prompt[cached:]
        try:
            while not self._over(request, cancelled):
                hidden = self.model.forward(self._ids(pending[:CHUNK_TOKENS]), cache)
                pending = pending[CHUNK_TOKENS:]
                if pending:
                    continue
                token = sampler.sample(self.model.logits(hidden[-1:])[0], grammar.allowed() if grammar else None)
                first_s = self._clock.monotonic_s() if first_s is None else first_s
                produced += 1
                found = self._reason(token, produced == limit, grammar)
                text = "" if token in self.tokenizer.stop_ids else stops.push(decoder.push(token))
                if stops.stopped:
                    found = FinishReason.STOP
                elif found is not None:
                    text += stops.flush()
                yield TokenEvent(token=token, text=text)
                if found is not None:
                    reason = found
                    break
                pending = (token,)
        finally:
            whole = min(cache.length, len(prompt)) // CHUNK_TOKENS * CHUNK_TOKENS
            self._kept = _Kept(prompt=prompt[:whole], cache=cache)
        ended_s = self._clock.monotonic_s()
        yield Finish(
            reason=reason,
            usage=Usage(input_tokens=len(prompt), output_tokens=produced, cached_tokens=cached),
            timing=Timing(
                prefill_s=(ended_s if first_s is None else first_s) - began_s,
                decode_s=0.0 if first_s is None else ended_s - first_s,
            ),
            prompt_blocks=prompt_blocks(prompt),
        )

    def _reason(self, token: int, last: bool, grammar: Grammar | None) -> FinishReason | None:
        """Why the reply ends with ``token``, if it does."""
        if token in self.tokenizer.stop_ids or (grammar is not None and grammar.consume(token)):
            return FinishReason.STOP
        return FinishReason.LENGTH if last else None

    def _over(self, request: Request, cancelled: threading.Event) -> bool:
        deadline = request.deadline_unix_ms
        return cancelled.is_set() or (deadline is not None and self._clock.unix_ns() >= deadline * 1_000_000)

    def _ids(self, tokens: Sequence[int]) -> torch.Tensor:
        return torch.tensor(tokens, dtype=torch.long, device=self.model.device)

    def _take_cache(self, prompt: tuple[int, ...]) -> KvCache:
        """The kept cache, cut to the whole chunks it shares with ``prompt``, or a new one. At least one token of the
        prompt is left to compute: its scores are needed."""
        kept, self._kept = self._kept, None
        if kept is None:
            return self.model.new_cache()
        most = min(len(kept.prompt), len(prompt) - 1)
        same = next((at for at in range(most) if kept.prompt[at] != prompt[at]), most)
        kept.cache.truncate(same // CHUNK_TOKENS * CHUNK_TOKENS)
        return kept.cache

    def _grammar(self, request: Request) -> Grammar | None:
        if request.json_schema is None:
            return None
        if self._grammars is None:
            self._grammars = GrammarCompiler(self.tokenizer, self.config.vocabulary)
        return self._grammars.compile(request.json_schema)
