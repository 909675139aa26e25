"""The shape of a model, read from a Hugging Face ``config.json`` or from GGUF metadata."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from antiphon.runtime.errors import ModelFileError

SUPPORTED = ("llama",)
ENCODERS = ("bert",)


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """How rotary frequencies are stretched beyond the trained context. ``linear`` uses ``factor`` alone."""

    kind: str  # linear | llama3
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_context_tokens: int = 8192


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes and constants of a Llama-family model."""

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

    def __post_init__(self) -> None:
        """Refuse sizes that no such model can have.

        Raises:
            ModelFileError: a size below 1, heads that do not share key-value heads evenly, or an odd head width.
        """
        for name in ("layers", "width", "heads", "kv_heads", "head_width", "ffn_width", "vocabulary", "context_tokens"):
            if getattr(self, name) < 1:
                raise ModelFileError(f"model configuration: found {name} = {getattr(self, name)}, expected 1 or more")
        if self.heads % self.kv_heads or self.head_width % 2:
            raise ModelFileError(
                f"model configuration: found {self.heads} heads of width {self.head_width} on {self.kv_heads} "
                "key-value heads, expected an even width and a multiple of the key-value heads"
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
        for name in ("layers", "width", "heads", "ffn_width", "vocabulary", "context_tokens", "token_types"):
            if getattr(self, name) < 1:
                raise ModelFileError(f"model configuration: found {name} = {getattr(self, name)}, expected 1 or more")
        if self.width % self.heads:
            raise ModelFileError(
                f"model configuration: found {self.heads} heads on width {self.width}, expected heads that divide it"
            )


class _Fields:
    """Typed access to a mapping from a file; a missing or mistyped entry is the file's fault."""

    def __init__(self, raw: Mapping[str, Any], source: str) -> None:
        self._raw = raw
        self._source = source

    def number(self, name: str, default: float | None = None) -> float:
        value = self._raw.get(name)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ModelFileError(f"{self._source}: found {name} = {value!r}, expected a number")
        return float(value)

    def integer(self, name: str, default: int | None = None) -> int:
        value = self.number(name, default)
        if value != int(value):
            raise ModelFileError(f"{self._source}: found {name} = {value!r}, expected a whole number")
        return int(value)


def from_hf(raw: Mapping[str, Any]) -> ModelConfig:
    """The configuration in a Hugging Face ``config.json``, as written by transformers 4 or 5.

    Raises:
        ModelFileError: another architecture, a variant this engine does not compute, or entries that make no sense.
    """
    source = "config.json"
    _expect_architecture(source, raw.get("model_type"), SUPPORTED)
    for name, expected in (("hidden_act", "silu"), ("attention_bias", False), ("mlp_bias", False)):
        if raw.get(name, expected) != expected:
            raise ModelFileError(f"{source}: found {name} = {raw[name]!r}, this engine computes {expected!r} only")
    fields = _Fields(raw, source)
    heads, width = fields.integer("num_attention_heads"), fields.integer("hidden_size")
    rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    if not isinstance(rope, Mapping):
        raise ModelFileError(f"{source}: found rope parameters {rope!r}, expected an object")
    return ModelConfig(
        layers=fields.integer("num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=fields.integer("num_key_value_heads", heads),
        head_width=fields.integer("head_dim", width // max(1, heads)),
        ffn_width=fields.integer("intermediate_size"),
        vocabulary=fields.integer("vocab_size"),
        context_tokens=fields.integer("max_position_embeddings", 2048),
        norm_eps=fields.number("rms_norm_eps", 1e-6),
        rope_theta=_Fields(rope, source).number("rope_theta", fields.number("rope_theta", 10_000.0)),
        rope_scaling=_rope_from_hf(rope, source),
        tied_embeddings=bool(raw.get("tie_word_embeddings", False)),
    )


def encoder_from_hf(raw: Mapping[str, Any]) -> EncoderConfig:
    """The configuration in the ``config.json`` of a BERT model.

    Raises:
        ModelFileError: another architecture, a variant this engine does not compute, or entries that make no sense.
    """
    source = "config.json"
    _expect_architecture(source, raw.get("model_type"), ENCODERS)
    for name, expected in (("hidden_act", "gelu"), ("position_embedding_type", "absolute")):
        if raw.get(name, expected) != expected:
            raise ModelFileError(f"{source}: found {name} = {raw[name]!r}, this engine computes {expected!r} only")
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


def from_gguf(metadata: Mapping[str, Any], *, has_output_head: bool) -> ModelConfig:
    """The configuration in a GGUF file's metadata; without an output head the embedding serves as one.

    Raises:
        ModelFileError: another architecture, a variant this engine does not compute, or entries that make no sense.
    """
    source = "GGUF metadata"
    _expect_architecture(source, metadata.get("general.architecture"), SUPPORTED)
    fields = _Fields(metadata, source)
    heads, width = fields.integer("llama.attention.head_count"), fields.integer("llama.embedding_length")
    head_width = fields.integer("llama.attention.key_length", width // max(1, heads))
    rotated = fields.integer("llama.rope.dimension_count", head_width)
    if rotated != head_width:
        raise ModelFileError(f"{source}: found rotary width {rotated}, expected the head width {head_width}")
    kind = metadata.get("llama.rope.scaling.type", "none")
    if kind not in ("none", "linear"):
        raise ModelFileError(f"{source}: found rope scaling {kind!r}, supported: none, linear")
    factor = fields.number("llama.rope.scaling.factor", 1.0)
    return ModelConfig(
        layers=fields.integer("llama.block_count"),
        width=width,
        heads=heads,
        kv_heads=fields.integer("llama.attention.head_count_kv", heads),
        head_width=head_width,
        ffn_width=fields.integer("llama.feed_forward_length"),
        vocabulary=fields.integer("llama.vocab_size", len(metadata.get("tokenizer.ggml.tokens", ()))),
        context_tokens=fields.integer("llama.context_length"),
        norm_eps=fields.number("llama.attention.layer_norm_rms_epsilon"),
        rope_theta=fields.number("llama.rope.freq_base", 10_000.0),
        rope_scaling=RopeScaling(kind="linear", factor=factor) if kind == "linear" else None,
        tied_embeddings=not has_output_head,
    )


def _expect_architecture(source: str, found: object, supported: tuple[str, ...]) -> None:
    if found not in supported:
        raise ModelFileError(f"{source}: found architecture {found!r}, supported: {', '.join(supported)}")


def _rope_from_hf(rope: Mapping[str, Any], source: str) -> RopeScaling | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
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
    raise ModelFileError(f"{source}: found rope type {kind!r}, supported: default, linear, llama3")
