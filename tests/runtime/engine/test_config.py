"""Reading the shape of a model."""

from typing import Any

import pytest

from antiphon.runtime.engine.config import RopeScaling, from_gguf, from_hf
from antiphon.runtime.errors import ModelFileError

HF: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
}
GGUF: dict[str, Any] = {
    "general.architecture": "llama",
    "llama.block_count": 3,
    "llama.context_length": 512,
    "llama.embedding_length": 64,
    "llama.feed_forward_length": 128,
    "llama.attention.head_count": 8,
    "llama.attention.head_count_kv": 2,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.vocab_size": 100,
}


def test_both_sources_give_the_same_config() -> None:
    """The same model as a folder and as GGUF has one shape; absent entries take the family's defaults."""
    assert from_hf(HF) == from_gguf(GGUF, has_output_head=True)
    assert from_hf(HF).head_width == 8
    assert from_hf(HF).rope_theta == 10_000.0


def test_rope_is_read_as_transformers_4_and_5_write_it() -> None:
    """Version 4 keeps theta at the top and scaling beside it, version 5 has one object."""
    scaling = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 256}
    old = from_hf({**HF, "rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", **scaling}})
    new = from_hf({**HF, "rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **scaling}})
    assert old == new
    assert old.rope_theta == 5e5
    expected = RopeScaling(
        kind="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_context_tokens=256
    )
    assert old.rope_scaling == expected
    linear = from_gguf(
        {**GGUF, "llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 2.0}, has_output_head=False
    )
    assert linear.rope_scaling == RopeScaling(kind="linear", factor=2.0)
    assert linear.tied_embeddings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt_neox"}, "found architecture 'gpt_neox', supported: llama"),
        ({"model_type": None}, "found architecture None"),
        ({"attention_bias": True}, "attention_bias"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"hidden_size": "wide"}, "found hidden_size = 'wide', expected a number"),
        ({"num_hidden_layers": None}, "num_hidden_layers"),
        ({"num_hidden_layers": 1.5}, "whole number"),
        ({"num_attention_heads": 0}, "heads = 0"),
        ({"num_key_value_heads": 3}, "multiple of the key-value heads"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "found rope type 'yarn'"),
        ({"rope_scaling": 3}, "expected an object"),
    ],
)
def test_what_cannot_be_computed_is_refused(change: dict[str, Any], message: str) -> None:
    """The error names what was found and what is supported."""
    with pytest.raises(ModelFileError, match=message):
        from_hf({**HF, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"general.architecture": "bert"}, "found architecture 'bert', supported: llama"),
        ({"llama.rope.dimension_count": 4}, "rotary width 4"),
        ({"llama.rope.scaling.type": "yarn"}, "rope scaling 'yarn'"),
        ({"llama.block_count": None}, r"llama\.block_count"),
    ],
)
def test_gguf_variants_are_refused(change: dict[str, Any], message: str) -> None:
    """GGUF metadata is held to the same rules."""
    with pytest.raises(ModelFileError, match=message):
        from_gguf({**GGUF, **change}, has_output_head=True)
