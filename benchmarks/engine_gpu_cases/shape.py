"""Models of random weights, made in memory on the device, and what is asked of them."""

import random
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer as Encoder
from tokenizers import decoders, models

from antiphon.runtime.engine.checkpoint import Checkpoint
from antiphon.runtime.engine.config import ModelConfig, RopeScaling
from antiphon.runtime.engine.device import Place
from antiphon.runtime.engine.engine import Engine
from antiphon.runtime.engine.engine_config import PAGE_TOKENS, EngineConfig
from antiphon.runtime.engine.packed_weight import PackedWeight
from antiphon.runtime.engine.tokenizer import Tokenizer

LLAMA_8B = ModelConfig(
    layers=32, width=4096, heads=32, kv_heads=8, head_width=128, ffn_width=14336, vocabulary=128256,
    context_tokens=131072, norm_eps=1e-5, rope_theta=5e5, rope_scaling=RopeScaling(kind="llama3", factor=8.0),
    tied_embeddings=False, qkv_bias=False, qk_norm=False, sliding_window=None,
)  # fmt: skip
SMALL = ModelConfig(
    layers=2, width=256, heads=8, kv_heads=2, head_width=32, ffn_width=512, vocabulary=2048,
    context_tokens=2048, norm_eps=1e-5, rope_theta=1e4, rope_scaling=None,
    tied_embeddings=False, qkv_bias=False, qk_norm=False, sliding_window=None,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A model, one stream of ``stream`` tokens, and ``requests`` at once of ``prompt`` tokens in and ``reply`` out."""

    config: ModelConfig
    stream: int
    requests: int
    prompt: int
    reply: int

    @property
    def tokens(self) -> int:
        """Of all requests, in and out."""
        return self.requests * (self.prompt + self.reply)


FULL = Shape(config=LLAMA_8B, stream=512, requests=256, prompt=1024, reply=1024)
QUICK = Shape(config=SMALL, stream=32, requests=4, prompt=48, reply=16)


class RandomWeights:
    """Normal numbers for matrices, ones for norms: any tensor of any name."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._source = torch.Generator(place.device).manual_seed(0)

    def __contains__(self, name: str) -> bool:
        """Divisors of rotary frequencies are the one thing that is not made up."""
        return name != "rope_freqs.weight"

    def get(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        """On the device at once: 16 GB of random numbers take a processor minutes."""
        place = self._place
        if len(shape) == 1:
            return torch.ones(shape, dtype=place.dtype, device=place.device)
        return torch.empty(shape, dtype=place.dtype, device=place.device).normal_(0, 0.02, generator=self._source)

    def packed(self, name: str, shape: tuple[int, ...]) -> PackedWeight | None:
        """None: floats."""
        return None


def engine_of(shape: Shape, place: Place) -> Engine:
    """An engine that takes all requests at once and lets no step wait for another's target."""
    pages = shape.requests * (-(-(shape.prompt + shape.reply) // PAGE_TOKENS) + 1)
    checkpoint = Checkpoint(
        config=shape.config,
        tokenizer=Tokenizer(_no_words(), stop_ids=()),
        template=None,
        weights=RandomWeights(place),
    )
    config = EngineConfig(
        threads=torch.get_num_threads(),
        cache_tokens=pages * PAGE_TOKENS,
        max_rows=shape.requests,
        itl_target_s=10.0,
        prefix_cache=False,
        speculate=False,
    )
    return Engine(checkpoint, config)


def prompts_of(shape: Shape) -> list[list[int]]:
    """A prompt of random ids for each request."""
    rng = random.Random(7)
    return [[rng.randrange(shape.config.vocabulary) for _ in range(shape.prompt)] for _ in range(shape.requests)]


def _no_words() -> Encoder:
    """Every id stands for nothing: what text costs is not measured here."""
    encoder = Encoder(models.BPE())
    encoder.decoder = decoders.ByteLevel()
    return encoder
