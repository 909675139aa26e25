"""The architecture, against transformers on tiny random models."""

from pathlib import Path
from typing import Any

import pytest
import torch

from antiphon.runtime.engine.architectures.llama import Llama
from antiphon.runtime.engine.checkpoint import open_checkpoint
from antiphon.runtime.engine.device import Place
from antiphon.runtime.engine.testing import logits_of, write_tiny_checkpoint

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "grouped": {},
    "tied_not": {"tie_word_embeddings": False},
    "one_key_value_head": {"num_key_value_heads": 1},
    "as_many_key_value_heads": {"num_key_value_heads": 4},
    "theta": {"rope_theta": 500_000.0},
    "eps": {"rms_norm_eps": 0.1},
    "head_width": {"head_dim": 16},
    "linear_scaling": {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    "llama3_scaling": {"rope_scaling": LLAMA3},
}


def load(folder: Path, dtype: torch.dtype = torch.float32) -> Llama:
    """The model alone."""
    checkpoint = open_checkpoint(folder)
    return Llama(checkpoint.config, checkpoint.weights, Place(torch.device("cpu"), dtype))


@pytest.mark.parametrize("overrides", VARIANTS.values(), ids=VARIANTS)
def test_logits_equal_transformers(overrides: dict[str, Any], tmp_path: Path) -> None:
    """Every variant of the family we claim, over a prompt and single steps after it."""
    from transformers import LlamaForCausalLM  # five seconds, in each process that runs tests

    folder = write_tiny_checkpoint(tmp_path, **overrides)
    reference = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.randint(0, 250, (90,), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = reference(ids[None]).logits[0]
    torch.testing.assert_close(logits_of(load(folder), ids, 80, *[1] * 10), expected, atol=2e-4, rtol=1e-4)


def test_chunks_do_not_change_the_result(tiny_path: Path) -> None:
    """However the prompt is cut, the same tokens get the same scores (float32)."""
    model = load(tiny_path)
    ids = torch.randint(0, 250, (600,), generator=torch.Generator().manual_seed(2))
    whole = logits_of(model, ids)
    for chunks in ((256, 256, 88), (1, 599), (300, 1, 299)):
        torch.testing.assert_close(logits_of(model, ids, *chunks), whole, atol=2e-4, rtol=1e-4)


def test_half_precision_stays_close(tiny_path: Path) -> None:
    """bfloat16 changes scores by its rounding, not by more."""
    ids = torch.arange(64) + 5
    exact, rounded = logits_of(load(tiny_path), ids), logits_of(load(tiny_path, torch.bfloat16), ids)
    assert (exact - rounded).abs().max() < 0.05 * exact.abs().max()
