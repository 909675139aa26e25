"""The shape of a model, read from a Hugging Face ``config.json`` or from GGUF metadata."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from antiphon.runtime.errors import ModelFileError

DECODERS = ("llama", "mistral", "qwen2", "qwen3")
ENCODERS = ("bert",)
_GGUF_DECODERS = ("llama", "qwen2", "qwen3")  # Mistral's files say llama
_LARGEST = 2**24  # of any size: no model comes near, and what is laid out for one still fits a machine


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """How rotary frequencies are stretched beyond the trained context; ``rope.py`` has the formulas.

    ``linear`` uses ``factor`` alone, ``llama3`` the ``freq`` factors too, ``yarn`` (arXiv 2309.00071) the ``beta``s:
    turns within the trained context above which a frequency is kept and below which it is divided.
    """

    kind: str  # linear | llama3 | yarn
    factor: float
    original_context_tokens: int = 8192
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float = 1.0  # cosines and sines are multiplied by it

    def __post_init__(self) -> None:
        """Refuse factors that would divide by zero or turn a position into nothing.

        Raises:
            ModelFileError: a factor that is not positive, or bounds in the wrong order.
        """
        for name in ("factor", "original_context_tokens", "beta_fast", "beta_slow", "attention_factor"):
            if getattr(self, name) <= 0:
                raise ModelFileError(f"rope scaling: found {name} = {getattr(self, name)}, expected more than 0")
        if self.low_freq_factor >= self.high_freq_factor or self.beta_slow >= self.beta_fast:
            raise ModelFileError(
                f"rope scaling: found frequency factors {self.low_freq_factor} to {self.high_freq_factor} and betas "
                f"{self.beta_slow} to {self.beta_fast}, expected the lower before the higher"
            )


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes and constants of a decoder: Llama, Mistral, Qwen2 or Qwen3.

    The families are one architecture with two switches. ``qkv_bias``: the query, key and value products have a bias
    (Qwen2). ``qk_norm``: each head's query and key are normed before the rotation, one weight [head_width] for all
    heads (Qwen3). ``sliding_window``: the model was trained to attend to that many tokens at most, itself included
    (Mistral 7B v0.1). Attention here has no window: ``context_tokens`` is capped to it instead, within which the two
    are the same.
    """

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    ffn_width: int
    vocabulary: int
    context_tokens: int
    norm_eps: float
    rope_theta: float
    rope_scaling: RopeScaling | None
    tied_embeddings: bool
    qkv_bias: bool
    qk_norm: bool
    sliding_window: int | None

    def __post_init__(self) -> None:
        """Refuse sizes that no such model can have.

        Raises:
            ModelFileError: a size below 1 or beyond any model's, heads that do not share key-value heads evenly, an odd
                head width, a constant that is not positive, or a context beyond the window.
        """
        _expect_sizes(self, "layers", "width", "heads", "kv_heads", "head_width", "ffn_width", "vocabulary")
        _expect_sizes(self, *(() if self.sliding_window is None else ("sliding_window",)), "context_tokens")
        if self.heads % self.kv_heads or self.head_width % 2:
            raise ModelFileError(
                f"model configuration: found {self.heads} heads of width {self.head_width} on {self.kv_heads} "
                "key-value heads, expected an even width and a multiple of the key-value heads"
            )
        if not (0 < self.norm_eps < 1 and self.rope_theta > 1):
            raise ModelFileError(
                f"model configuration: found norm_eps = {self.norm_eps} and rope_theta = {self.rope_theta}, expected "
                "the first between 0 and 1 and the second above 1"
            )
        if self.sliding_window is not None and self.context_tokens > self.sliding_window:
            raise ModelFileError(
                f"model configuration: found a context of {self.context_tokens} tokens, expected at most the sliding "
                f"window of {self.sliding_window}"
            )


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Sizes and constants of a BERT-family model that turns texts into vectors."""

    layers: int
    width: int
    heads: int
    ffn_width: int
    vocabulary: int
    context_tokens: int
    token_types: int
    norm_eps: float

    def __post_init__(self) -> None:
        """Refuse sizes that no such model can have.

        Raises:
            ModelFileError: a size below 1, or a width that the heads do not share evenly.
        """
        _expect_sizes(self, "layers", "width", "heads", "ffn_width", "vocabulary", "context_tokens", "token_types")
        if self.width % self.heads:
            raise ModelFileError(
                f"model configuration: found {self.heads} heads on width {self.width}, expected heads that divide it"
            )


class _Fields:
    """Typed access to a mapping from a file; a missing or mistyped entry is the file's fault."""

    def __init__(self, raw: Mapping[str, Any], source: str, prefix: str = "") -> None:
        self._raw = raw
        self._source = source
        self._prefix = prefix

    def number(self, name: str, default: float | None = None) -> float:
        name = self._prefix + name
        value = self._raw.get(name)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not -(2.0**64) < value < 2.0**64:  # nor NaN
            raise ModelFileError(f"{self._source}: found {name} = {value!r}, expected a number")
        return float(value)

    def integer(self, name: str, default: int | None = None) -> int:
        value = self.number(name, default)
        if value != int(value):
            raise ModelFileError(f"{self._source}: found {self._prefix + name} = {value!r}, expected a whole number")
        return int(value)

    def flag(self, name: str) -> bool:
        value = self._raw.get(self._prefix + name)
        if value is not None and not isinstance(value, bool):
            raise ModelFileError(f"{self._source}: found {self._prefix + name} = {value!r}, expected true or false")
        return bool(value)


def from_hf(raw: Mapping[str, Any]) -> ModelConfig:
    """The configuration in a Hugging Face ``config.json``, as written by transformers 4 or 5.

    Raises:
        ModelFileError: another architecture, a variant this engine does not compute, or entries that make no sense.
    """
    source = "config.json"
    family = _expect_architecture(source, raw.get("model_type"), DECODERS)
    _expect_only(source, raw, hidden_act="silu", mlp_bias=False, partial_rotary_factor=1.0)
    if family != "qwen2":  # it has no such entry, and always the bias
        _expect_only(source, raw, attention_bias=False)
    quantised = raw.get("quantization_config")
    if quantised is not None:
        kind = quantised.get("quant_method") if isinstance(quantised, Mapping) else quantised
        raise ModelFileError(f"{source}: found weights quantised by {kind!r}, expected floats, or a GGUF file")
    fields = _Fields(raw, source)
    heads, width = fields.integer("num_attention_heads"), fields.integer("hidden_size")
    rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    if not isinstance(rope, Mapping):
        raise ModelFileError(f"{source}: found rope parameters {rope!r}, expected an object")
    context_tokens = fields.integer("max_position_embeddings", 2048)
    scaling = _rope_from_hf(rope, context_tokens, source)
    if scaling is not None and scaling.kind == "yarn":  # max_position_embeddings may still be what it was trained on
        context_tokens = max(context_tokens, int(scaling.factor * scaling.original_context_tokens))
    window = _window_from_hf(family, raw, fields)
    return ModelConfig(
        layers=fields.integer("num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=fields.integer("num_key_value_heads", heads),
        head_width=fields.integer("head_dim", 128 if family == "qwen3" else width // max(1, heads)),
        ffn_width=fields.integer("intermediate_size"),
        vocabulary=fields.integer("vocab_size"),
        context_tokens=_capped(context_tokens, window),
        norm_eps=fields.number("rms_norm_eps", 1e-6),
        rope_theta=_Fields(rope, source).number("rope_theta", fields.number("rope_theta", 10_000.0)),
        rope_scaling=scaling,
        tied_embeddings=fields.flag("tie_word_embeddings"),
        qkv_bias=family == "qwen2",
        qk_norm=family == "qwen3",
        sliding_window=window,
    )


def encoder_from_hf(raw: Mapping[str, Any]) -> EncoderConfig:
    """The configuration in the ``config.json`` of a BERT model.

    Raises:
        ModelFileError: another architecture, a variant this engine does not compute, or entries that make no sense.
    """
    source = "config.json"
    _expect_architecture(source, raw.get("model_type"), ENCODERS)
    _expect_only(source, raw, hidden_act="gelu", position_embedding_type="absolute")
    fields = _Fields(raw, source)
    return EncoderConfig(
        layers=fields.integer("num_hidden_layers"),
        width=fields.integer("hidden_size"),
        heads=fields.integer("num_attention_heads"),
        ffn_width=fields.integer("intermediate_size"),
        vocabulary=fields.integer("vocab_size"),
        context_tokens=fields.integer("max_position_embeddings", 512),
        token_types=fields.integer("type_vocab_size", 2),
        norm_eps=fields.number("layer_norm_eps", 1e-12),
    )


def from_gguf(metadata: Mapping[str, Any], tensors: Collection[str]) -> ModelConfig:
    """The configuration in a GGUF file's metadata.

    The names of its ``tensors`` say the rest: without an output head the embedding serves as one; biases and norms of
    queries and keys are there or not.

    Raises:
        ModelFileError: another architecture, a variant this engine does not compute, or entries that make no sense.
    """
    source = "GGUF metadata"
    family = _expect_architecture(source, metadata.get("general.architecture"), _GGUF_DECODERS)
    fields = _Fields(metadata, source, f"{family}.")
    if fields.integer("expert_count", 0):
        raise ModelFileError(f"{source}: found a mixture of experts, this engine computes dense models only")
    heads, width = fields.integer("attention.head_count"), fields.integer("embedding_length")
    head_width = fields.integer("attention.key_length", width // max(1, heads))
    for name in ("rope.dimension_count", "attention.value_length"):
        if fields.integer(name, head_width) != head_width:
            raise ModelFileError(
                f"{source}: found {family}.{name} = {fields.integer(name)}, expected the head width {head_width}"
            )
    context_tokens, window = fields.integer("context_length"), fields.integer("attention.sliding_window", 0) or None
    tokens = metadata.get("tokenizer.ggml.tokens")
    return ModelConfig(
        layers=fields.integer("block_count"),
        width=width,
        heads=heads,
        kv_heads=fields.integer("attention.head_count_kv", heads),
        head_width=head_width,
        ffn_width=fields.integer("feed_forward_length"),
        vocabulary=fields.integer("vocab_size", len(tokens) if isinstance(tokens, list) else None),
        context_tokens=_capped(context_tokens, window),
        norm_eps=fields.number("attention.layer_norm_rms_epsilon"),
        rope_theta=fields.number("rope.freq_base", 10_000.0),
        rope_scaling=_rope_from_gguf(metadata.get(f"{family}.rope.scaling.type", "none"), fields, context_tokens),
        tied_embeddings="output.weight" not in tensors,
        qkv_bias="blk.0.attn_q.bias" in tensors,
        qk_norm="blk.0.attn_q_norm.weight" in tensors,
        sliding_window=window,
    )


def _expect_architecture(source: str, found: object, supported: tuple[str, ...]) -> str:
    if not isinstance(found, str) or found not in supported:
        raise ModelFileError(f"{source}: found architecture {found!r}, supported: {', '.join(supported)}")
    return found


def _expect_only(source: str, raw: Mapping[str, Any], **expected: object) -> None:
    for name, value in expected.items():
        if raw.get(name, value) != value:
            raise ModelFileError(f"{source}: found {name} = {raw[name]!r}, this engine computes {value!r} only")


def _expect_sizes(config: object, *names: str) -> None:
    for name in names:
        if not 1 <= getattr(config, name) <= _LARGEST:
            raise ModelFileError(
                f"model configuration: found {name} = {getattr(config, name)}, expected 1 to {_LARGEST}"
            )


def _capped(context_tokens: int, window: int | None) -> int:
    return context_tokens if window is None else min(context_tokens, window)


def _window_from_hf(family: str, raw: Mapping[str, Any], fields: _Fields) -> int | None:
    """Qwen keeps a window in its file that it does not use; Mistral's stands at 4096 unless its file says null."""
    if family == "mistral":
        return 4096 if "sliding_window" not in raw else fields.integer("sliding_window", 0) or None
    return fields.integer("sliding_window") if fields.flag("use_sliding_window") else None


def _rope_from_hf(rope: Mapping[str, Any], context_tokens: int, source: str) -> RopeScaling | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    _expect_only(source, rope, partial_rotary_factor=1.0)
    if kind == "default":
        return None
    fields = _Fields(rope, source)
    if kind == "linear":
        return RopeScaling(kind="linear", factor=fields.number("factor"))
    if kind == "llama3":
        return RopeScaling(
            kind="llama3",
            factor=fields.number("factor"),
            low_freq_factor=fields.number("low_freq_factor"),
            high_freq_factor=fields.number("high_freq_factor"),
            original_context_tokens=fields.integer("original_max_position_embeddings"),
        )
    if kind == "yarn":
        _expect_only(source, rope, mscale=None, mscale_all_dim=None, truncate=True)  # DeepSeek's and gpt-oss's variants
        factor = fields.number("factor")
        return RopeScaling(
            kind="yarn",
            factor=factor,
            original_context_tokens=fields.integer("original_max_position_embeddings", context_tokens),
            beta_fast=fields.number("beta_fast", 32.0),
            beta_slow=fields.number("beta_slow", 1.0),
            attention_factor=fields.number("attention_factor", _yarn_attention_factor(factor)),
        )
    raise ModelFileError(f"{source}: found rope type {kind!r}, supported: default, linear, llama3, yarn")


def _rope_from_gguf(kind: object, fields: _Fields, context_tokens: int) -> RopeScaling | None:
    if kind == "none":
        return None
    if kind == "linear":
        return RopeScaling(kind="linear", factor=fields.number("rope.scaling.factor"))
    if kind == "yarn":
        factor = fields.number("rope.scaling.factor")
        return RopeScaling(
            kind="yarn",
            factor=factor,
            original_context_tokens=fields.integer("rope.scaling.original_context_length", context_tokens),
            beta_fast=fields.number("rope.scaling.yarn_beta_fast", 32.0),
            beta_slow=fields.number("rope.scaling.yarn_beta_slow", 1.0),
            attention_factor=fields.number("rope.scaling.attn_factor", 1.0) * _yarn_attention_factor(factor),
        )
    raise ModelFileError(f"GGUF metadata: found rope scaling {kind!r}, supported: none, linear, yarn")


def _yarn_attention_factor(factor: float) -> float:
    """Longer contexts flatten attention; this sharpens it again (arXiv 2309.00071, equation 22)."""
    return 0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0
