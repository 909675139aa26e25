"""Measures how fast a model is, through the seam that its users have."""

import asyncio
import random
import statistics
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from antiphon.runtime.clock import Clock
from antiphon.runtime.errors import ConfigurationError, ModelUnavailable
from antiphon.runtime.models.base import ModelInstance
from antiphon.schemas.inference import Finish, GenerateRequest, Role, Sampling, turn

_STREAMS: Final = (1, 2, 4, 8, 16, 32, 64)
_OUTPUT_TOKENS: Final = 32  # of each reply
_SHORT_WORDS, _LONG_WORDS = 8, 128  # of a prompt; a word of random letters is about three tokens
_PROMPTS: Final = 4  # at once, when prompts are measured, in _ROUNDS rounds
_ROUNDS: Final = 3
_GAIN: Final = 1.05  # more streams that gain less than this are not worth their latency
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"

Progress = Callable[[str, float], None]  # what is measured, and the share of all that is done


@dataclass(frozen=True, kw_only=True)
class Speeds:
    """Tokens a second over all requests. ``mixed_tokens_per_s``: weighted ones, of prompts and replies together.

    ``output_weight``: what a token of a reply costs, in tokens of a prompt. ``streams``: the replies at once with
    which ``inter_token_s`` stayed within the target, as it did in the mixture.
    """

    prompt_tokens_per_s: float
    output_tokens_per_s: float
    output_weight: float
    mixed_tokens_per_s: float
    streams: int
    inter_token_s: float


@dataclass(frozen=True, kw_only=True)
class _Round:
    """What some requests at once took."""

    seconds: float
    prompt_tokens: int  # computed, not found in a cache
    output_tokens: int
    inter_token_s: float  # median over the requests


class SpeedTest:
    """Prompts alone, replies alone with more and more at once, and then both together."""

    def __init__(self, instance: ModelInstance, *, clock: Clock, rng: random.Random, progress: Progress) -> None:
        self._instance = instance
        self._clock = clock
        self._rng = rng
        self._progress = progress

    async def run(self, itl_target_s: float) -> Speeds:
        """Measure while the time between two tokens of a reply stays within ``itl_target_s``.

        Raises:
            ConfigurationError: the model makes no text, or keeps the target not even alone.
            ModelError: as the instance says.
        """
        self._progress("loading", 0.0)
        capabilities = await self._instance.capabilities()
        if capabilities.embeddings:
            raise ConfigurationError(
                f"model {capabilities.model} makes vectors, and units are of models that write text"
            )
        words = min(_LONG_WORDS, (capabilities.context_tokens or 2**31) // 8)
        await self._round(2, words, _OUTPUT_TOKENS)  # what is done once is done then
        self._progress("prompts", 0.1)
        rounds = [await self._round(_PROMPTS, words, 1) for _ in range(_ROUNDS)]
        prompts_per_s = sum(each.prompt_tokens for each in rounds) / sum(each.seconds for each in rounds)
        streams, replies = await self._most_streams(itl_target_s)
        outputs_per_s = replies.output_tokens / replies.seconds
        weight = max(1.0, prompts_per_s / outputs_per_s)
        while True:
            self._progress(f"both, {streams} at once", 0.8)
            mixed = [await self._round(streams, words, _OUTPUT_TOKENS) for _ in range(2)]
            inter_token_s = max(each.inter_token_s for each in mixed)
            if inter_token_s <= itl_target_s or streams == 1:
                break
            streams //= 2
        self._progress("done", 1.0)
        weighted = sum(each.prompt_tokens + weight * each.output_tokens for each in mixed)
        return Speeds(
            prompt_tokens_per_s=prompts_per_s,
            output_tokens_per_s=outputs_per_s,
            output_weight=weight,
            mixed_tokens_per_s=weighted / sum(each.seconds for each in mixed),
            streams=streams,
            inter_token_s=inter_token_s,
        )

    async def _most_streams(self, itl_target_s: float) -> tuple[int, _Round]:
        """The replies at once that gain most within the target, and what they took."""
        best: tuple[int, _Round] | None = None
        for step, streams in enumerate(_STREAMS):
            self._progress(f"replies, {streams} at once", 0.2 + 0.6 * step / len(_STREAMS))
            found = await self._round(streams, _SHORT_WORDS, _OUTPUT_TOKENS)
            if found.inter_token_s > itl_target_s:
                if best is None:
                    raise ConfigurationError(
                        f"one reply alone has {found.inter_token_s:.3f} s between tokens here, and the target is "
                        f"{itl_target_s:g} s; set itl_target_s higher, or take a smaller model"
                    )
                break
            gained = best is None or _rate(found) > _GAIN * _rate(best[1])
            if not gained:
                break
            best = (streams, found)
        assert best is not None  # the first round gains or raises
        return best

    async def _round(self, requests: int, words: int, tokens: int) -> _Round:
        began_s = self._clock.monotonic_s()
        ends = await asyncio.gather(*(self._one(words, tokens) for _ in range(requests)))
        gaps = [
            end.timing.decode_s / (end.usage.output_tokens - 1)
            for end in ends
            if end.timing.decode_s is not None and end.usage.output_tokens > 1
        ]
        return _Round(
            seconds=self._clock.monotonic_s() - began_s,
            prompt_tokens=sum(end.usage.input_tokens - (end.usage.cached_tokens or 0) for end in ends),
            output_tokens=sum(end.usage.output_tokens for end in ends),
            inter_token_s=statistics.median(gaps) if gaps else 0.0,
        )

    async def _one(self, words: int, tokens: int) -> Finish:
        """A request with a prompt that nothing is cached of."""
        text = " ".join("".join(self._rng.choices(_LETTERS, k=6)) for _ in range(words))
        request = GenerateRequest(
            model="",
            conversation=(turn(Role.USER, text),),
            sampling=Sampling(temperature=1.0, seed=self._rng.getrandbits(32), max_tokens=tokens),
        )
        async with aclosing(self._instance.generate(request)) as chunks:
            async for chunk in chunks:
                if isinstance(chunk, Finish):
                    return chunk
        raise ModelUnavailable("a reply ended without saying how; try again")


def _rate(found: _Round) -> float:
    return found.output_tokens / found.seconds
