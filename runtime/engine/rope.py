"""Rotary frequencies, stretched beyond the trained context as a model's configuration says."""

import math

import torch

from antiphon.runtime.engine.config import RopeScaling


def rope_frequencies(theta: float, head_width: int, scaling: RopeScaling | None) -> torch.Tensor:
    """Radians a token for each of the head_width / 2 pairs, float32 (arXiv 2104.09864), scaled as the config says.

    ``linear`` divides all by the factor. ``llama3`` keeps high frequencies, divides low ones and blends between, by
    turns within the trained context (Llama 3.1's release code). ``yarn`` does so by the pair's index, between the pairs
    that make ``beta_fast`` and ``beta_slow`` turns (arXiv 2309.00071, section 3.2, rounded outwards as in its release
    code); its cosines and sines have to be multiplied by ``attention_factor`` too.
    """
    frequencies = 1.0 / theta ** (torch.arange(0, head_width, 2, dtype=torch.float32) / head_width)
    if scaling is None:
        return frequencies
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    if scaling.kind == "llama3":
        turns = scaling.original_context_tokens * frequencies / (2 * math.pi)
        kept = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    else:
        first, last = (
            head_width * math.log(scaling.original_context_tokens / (turns * 2 * math.pi)) / (2 * math.log(theta))
            for turns in (scaling.beta_fast, scaling.beta_slow)
        )
        low, high = max(math.floor(first), 0), min(math.ceil(last), head_width - 1)
        pairs = torch.arange(head_width // 2, dtype=torch.float32)
        kept = 1 - (pairs - low) / (high - low if high != low else 0.001)
    kept = kept.clamp(0, 1)
    return frequencies * (kept + (1 - kept) / scaling.factor)
