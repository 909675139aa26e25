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
HEAD = ("output.weight",)


def test_both_sources_give_the_same_config() -> None:
    """The same model as a folder and as GGUF has one shape; absent entries take the family's defaults."""
    assert from_hf(HF) == from_gguf(GGUF, HEAD)
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
    linear = from_gguf({**GGUF, "llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 2.0}, ())
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
        ({"rope_scaling": {"rope_type": "longrope"}}, "found rope type 'longrope', supported: default, linear"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "found factor = None"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "mscale": 0.7}}, "found mscale = 0.7"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 0}}, "found factor = 0.0, expected more than 0"),
        ({"rope_scaling": 3}, "expected an object"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"quantization_config": {"quant_method": "gptq"}}, "found weights quantised by 'gptq'"),
        ({"hidden_size": -64}, "width = -64"),
        ({"num_hidden_layers": 10**12}, "layers = 1000000000000, expected 1 to"),
        ({"vocab_size": float("nan")}, "found vocab_size = nan, expected a number"),
        ({"max_position_embeddings": float("inf")}, "found max_position_embeddings = inf"),
        ({"rms_norm_eps": -1e-5}, "norm_eps = -1e-05"),
        ({"rope_theta": 0}, "rope_theta = 0.0"),
        ({"tie_word_embeddings": "no"}, "found tie_word_embeddings = 'no', expected true or false"),
        ({"model_type": "mistral", "sliding_window": -1}, "sliding_window = -1"),
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
        ({"general.architecture": ["llama"]}, "found architecture"),
        ({"llama.rope.dimension_count": 4}, "dimension_count = 4, expected the head width 8"),
        ({"llama.attention.value_length": 4}, "value_length = 4, expected the head width 8"),
        ({"llama.rope.scaling.type": "longrope"}, "rope scaling 'longrope'"),
        ({"llama.expert_count": 8}, "mixture of experts"),
        ({"llama.block_count": None}, r"llama\.block_count"),
    ],
)
def test_gguf_variants_are_refused(change: dict[str, Any], message: str) -> None:
    """GGUF metadata is held to the same rules."""
    with pytest.raises(ModelFileError, match=message):
        from_gguf({**GGUF, **change}, HEAD)


def test_families_differ_in_biases_norms_and_head_width() -> None:
    """As transformers' classes do; GGUF says so by the tensors it has."""
    found = {family: from_hf({**HF, "model_type": family}) for family in ("llama", "mistral", "qwen2", "qwen3")}
    assert {family: (config.qkv_bias, config.qk_norm, config.head_width) for family, config in found.items()} == {
        "llama": (False, False, 8),
        "mistral": (False, False, 8),
        "qwen2": (True, False, 8),
        "qwen3": (False, True, 128),
    }
    qwen = {name.replace("llama.", "qwen3."): value for name, value in GGUF.items()}
    names = (*HEAD, "blk.0.attn_q_norm.weight")
    extra = {"general.architecture": "qwen3", "qwen3.attention.key_length": 128}
    assert from_gguf({**qwen, **extra}, names) == found["qwen3"]
    assert from_gguf(GGUF, (*HEAD, "blk.0.attn_q.bias")).qkv_bias


@pytest.mark.parametrize(
    ("change", "window", "context"),
    [
        ({"model_type": "mistral"}, 4096, 512),
        ({"model_type": "mistral", "sliding_window": 64}, 64, 64),
        ({"model_type": "mistral", "sliding_window": None}, None, 512),
        ({"model_type": "qwen2", "sliding_window": 64}, None, 512),
        ({"model_type": "qwen2", "sliding_window": 64, "use_sliding_window": True}, 64, 64),
        ({"sliding_window": 64}, None, 512),
    ],
)
def test_a_context_ends_with_the_window(change: dict[str, Any], window: int | None, context: int) -> None:
    """Where a model has one: Mistral unless it says null, Qwen if it says so, Llama never."""
    found = from_hf({**HF, **change})
    assert (found.sliding_window, found.context_tokens) == (window, context)


def test_yarn_extends_the_context() -> None:
    """The factor times what it was trained on, whether or not max_position_embeddings says so; both files agree."""
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}
    found = from_hf({**HF, "rope_scaling": scaling})
    assert found.context_tokens == 2048
    assert found.rope_scaling is not None
    assert found.rope_scaling.attention_factor == pytest.approx(1.1386, abs=1e-4)
    entries = {"type": "yarn", "factor": 4.0, "original_context_length": 512}
    metadata = {f"llama.rope.scaling.{name}": value for name, value in entries.items()}
    assert from_gguf({**GGUF, **metadata, "llama.context_length": 2048}, HEAD) == found
