"""Every family from every kind of file computes what transformers computes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import pytest
import torch

from antiphon.runtime.engine.architectures.llama import Llama
from antiphon.runtime.engine.checkpoint import open_checkpoint
from antiphon.runtime.engine.device import Place
from antiphon.runtime.engine.testing import logits_of, write_tiny_checkpoint

if TYPE_CHECKING:  # five seconds, in each process that runs tests
    from transformers import PreTrainedModel

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
PLACE = Place(torch.device("cpu"), torch.float32)
IDS = torch.randint(0, 250, (150,), generator=torch.Generator().manual_seed(1))
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "head_width_of_its_own": ("llama", {"head_dim": 16}),
    "one_key_value_head": ("qwen2", {"num_key_value_heads": 1}),
    "head_not_tied": ("qwen3", {"tie_word_embeddings": False}),
    "window_as_long_as_the_prompt": ("mistral", {"sliding_window": 150}),
    "window_not_used": ("qwen2", {"sliding_window": 16, "use_sliding_window": False, "max_window_layers": 0}),
    "linear_scaling": ("mistral", {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
    "yarn": ("qwen2", {"rope_scaling": YARN}),
    "yarn_with_its_own_constants": (
        "qwen3",
        {"rope_scaling": YARN | {"beta_fast": 8.0, "beta_slow": 0.5, "attention_factor": 1.3}},
    ),
}


def scores(path: Path, *chunks: int) -> torch.Tensor:
    """Of every position of IDS for the checkpoint at ``path`` in float32, computed in chunks of these lengths."""
    checkpoint = open_checkpoint(path)
    return logits_of(Llama(checkpoint.config, checkpoint.weights, PLACE), IDS, *chunks)


def reference_of(folder: Path) -> "PreTrainedModel":
    """transformers' model of a folder, in float32."""
    from transformers import AutoModelForCausalLM

    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model


def expected_of(model: "PreTrainedModel") -> torch.Tensor:
    """What it makes of IDS."""
    with torch.inference_mode():
        found: torch.Tensor = model(IDS[None]).logits[0]
    return found


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    """To float32's rounding: sums are in another order, nothing else differs."""
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_agrees_with_transformers(family: str, tmp_path: Path) -> None:
    """The prompt whole, and in chunks and single tokens; one file, and three."""
    folder = write_tiny_checkpoint(tmp_path / "one", family=family)
    expected = expected_of(reference_of(folder))
    assert_same(scores(folder), expected)
    sharded = write_tiny_checkpoint(tmp_path / "three", family=family, shards=3)
    assert len(list(sharded.glob("*.safetensors"))) == 3
    assert_same(scores(sharded, 70, 1, 1, 64), expected)


@pytest.mark.parametrize(("family", "overrides"), VARIANTS.values(), ids=VARIANTS)
def test_variants_agree_with_transformers(family: str, overrides: dict[str, Any], tmp_path: Path) -> None:
    """Sizes and constants that differ within a family, those that stretch the context among them."""
    folder = write_tiny_checkpoint(tmp_path, family=family, **overrides)
    assert_same(scores(folder), expected_of(reference_of(folder)))


@pytest.mark.parametrize("family", FAMILIES)
def test_gguf_agrees_with_transformers(family: str, gguf_maker_of: Any, tmp_path: Path) -> None:
    """Against transformers with the tensors that the gguf package dequantises; one family in every type of tensor."""
    folder = write_tiny_checkpoint(tmp_path / "folder", family=family)
    maker, model = gguf_maker_of(folder), reference_of(folder)
    for name in ("F16", "BF16", "Q4_0", "Q4_1", "Q8_0") if family == "qwen2" else ("F16", "Q4_1"):
        kind = gguf.GGMLQuantizationType[name]
        rounded = {
            name: torch.from_numpy(gguf.dequantize(gguf.quantize(tensor, kind), kind).reshape(tensor.shape).copy())
            for name, tensor in maker.tensors.items()
            if tensor.ndim == 2
        }
        model.load_state_dict(rounded, strict=False)
        found = scores(maker.write(tmp_path / f"{name}.gguf", kind), 100)
        assert_same(found, expected_of(model))


def test_the_families_differ(tmp_path: Path) -> None:
    """With the same seed; so none of the tests above passes by leaving a bias or a norm out."""
    found = [scores(write_tiny_checkpoint(tmp_path / family, family=family)) for family in FAMILIES]
    assert torch.equal(found[0], found[1])  # Mistral is Llama, but for a window
    assert not torch.allclose(found[0], found[2], atol=0.1)
    assert not torch.allclose(found[0], found[3][:, : found[0].shape[1]], atol=0.1)
