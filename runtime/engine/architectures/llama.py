"""The Llama family: RMS norm, rotary positions, grouped-query attention, SwiGLU (arXiv 2302.13971, 2305.13245).

Mistral, Qwen2 (biases on query, key and value) and Qwen3 (a norm on each head's query and key) are the same but for
two switches of the configuration.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch.nn.functional import embedding

from antiphon.kernels import ops
from antiphon.kernels.ops import attention_step
from antiphon.kernels.paged_layout import PagedLayout
from antiphon.kernels.reference.silu_mul import silu_mul
from antiphon.kernels.registry import Backend, backend_for
from antiphon.kernels.rotation import Rotation
from antiphon.runtime.engine.config import ModelConfig
from antiphon.runtime.engine.device import Place
from antiphon.runtime.engine.kv_pages import KvPages
from antiphon.runtime.engine.linear import Linear, load_linear
from antiphon.runtime.engine.norm import Norm, norm_of
from antiphon.runtime.engine.rope import rope_frequencies
from antiphon.runtime.engine.weights import Weights


@dataclass(frozen=True, kw_only=True)
class _Layer:
    qkv: Linear  # to (heads + 2 kv_heads) * head_width, fused: fewer, larger products
    query_norm: torch.Tensor | None  # [head_width]
    key_norm: torch.Tensor | None  # [head_width]
    attention_out: Linear
    ffn_norm: Norm
    gate_up: Linear  # to 2 * ffn_width
    ffn_down: Linear
    next_norm: Norm  # the next layer's first, or the one before the head


class Llama:
    """A model in memory. Stateless between calls: what it remembers of a sequence is in the KvPages."""

    def __init__(self, config: ModelConfig, weights: Weights, place: Place, *, batch_invariant: bool = False) -> None:
        """Copy the weights to ``place``.

        Raises:
            ModelFileError: a tensor is missing, unreadable or of another shape.
        """
        self.config = config
        self.place = place
        self._batch_invariant = batch_invariant
        width, ffn, head_width = config.width, config.ffn_width, config.head_width
        q_rows, kv_rows = config.heads * head_width, config.kv_heads * head_width

        def vector(name: str, length: int) -> torch.Tensor:
            return weights.get(f"{name}.weight", (length,)).to(place.device, place.dtype)

        def matrix(at: str, names: tuple[str, ...], rows: tuple[int, ...], columns: int, bias: bool = False) -> Linear:
            paths = [f"{at}.{name}" for name in names]
            return load_linear(weights, paths, rows, columns, place, bias=bias, batch_invariant=batch_invariant)

        self._embedding = weights.get("model.embed_tokens.weight", (config.vocabulary, width)).to(
            place.device, place.dtype
        )
        head = "model.embed_tokens" if config.tied_embeddings else "lm_head"
        self._head = load_linear(
            weights,
            [head],
            [config.vocabulary],
            width,
            place,
            batch_invariant=batch_invariant,
            dense=self._embedding if config.tied_embeddings else None,
        )
        # The checks of an op cost a CPU as much as some operations, and every layer has the same shapes.
        self._silu_mul = silu_mul if backend_for(self._embedding) is Backend.REFERENCE else ops.silu_mul
        norms = [f"model.layers.{index}.input_layernorm" for index in range(config.layers)] + ["model.norm"]
        self._first_norm, *next_norms = [norm_of(vector(name, width), config.norm_eps) for name in norms]
        self._layers = []
        for index in range(config.layers):
            at = f"model.layers.{index}"
            attention = f"{at}.self_attn"
            self._layers.append(
                _Layer(
                    qkv=matrix(
                        attention, ("q_proj", "k_proj", "v_proj"), (q_rows, kv_rows, kv_rows), width, config.qkv_bias
                    ),
                    query_norm=vector(f"{attention}.q_norm", head_width) if config.qk_norm else None,
                    key_norm=vector(f"{attention}.k_norm", head_width) if config.qk_norm else None,
                    attention_out=matrix(attention, ("o_proj",), (width,), q_rows),
                    ffn_norm=norm_of(vector(f"{at}.post_attention_layernorm", width), config.norm_eps),
                    gate_up=matrix(f"{at}.mlp", ("gate_proj", "up_proj"), (ffn, ffn), width),
                    ffn_down=matrix(f"{at}.mlp", ("down_proj",), (width,), ffn),
                    next_norm=next_norms[index],
                )
            )
        # Of a step's length, and most steps repeat one. It must not refer to the model, whose memory would then stay
        # until the collector runs.
        self._layers_read = lru_cache(maxsize=64)(partial(_sum_read, tuple(self._layers)))
        frequencies = rope_frequencies(config.rope_theta, head_width, config.rope_scaling)
        if "rope_freqs.weight" in weights:  # GGUF stores Llama 3's scaling as one divisor a frequency
            frequencies = frequencies / weights.get("rope_freqs.weight", (head_width // 2,)).float()
        self._frequencies = frequencies.to(place.device)
        self._rotary_scale = 1.0 if config.rope_scaling is None else config.rope_scaling.attention_factor

    def read_bytes(self, *, tokens: int, scored: int) -> int:
        """What a step reads of the weights: those of the products in the form that ``tokens`` take, the head's for the
        ``scored`` of them (0: not at all), and of the embedding one row a token."""
        head = self._head.read_bytes(scored) if scored else 0
        rows = tokens * self._embedding.shape[1] * self._embedding.element_size()
        return rows + head + self._layers_read(tokens)

    @torch.inference_mode()
    def forward(self, ids: torch.Tensor, positions: torch.Tensor, layout: PagedLayout, pages: KvPages) -> torch.Tensor:
        """Compute the tokens ``ids`` [tokens] at ``positions`` of their sequences; keys and values go to ``pages``.

        Returns the normed hidden state of each, [tokens, width].
        """
        config = self.config
        angles = positions[:, None].float() * self._frequencies
        attention = attention_step(
            Rotation(angles.cos() * self._rotary_scale, angles.sin() * self._rotary_scale),
            pages.keys,
            pages.values,
            layout,
            heads=config.heads,
            kv_heads=config.kv_heads,
            eps=config.norm_eps,
            batch_invariant=self._batch_invariant,
        )
        normed, residual = self._first_norm.first(embedding(ids, self._embedding))
        for index, layer in enumerate(self._layers):
            attended = attention(index, layer.qkv(normed), layer.query_norm, layer.key_norm)
            normed, residual = layer.ffn_norm(layer.attention_out(attended), residual)
            normed, residual = layer.next_norm(layer.ffn_down(self._silu_mul(layer.gate_up(normed))), residual)
        return normed

    @torch.inference_mode()
    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Scores over the vocabulary, float32, for hidden states [tokens, width]."""
        return self._head(hidden).float()


def _sum_read(layers: Sequence[_Layer], tokens: int) -> int:
    return sum(
        linear.read_bytes(tokens)
        for layer in layers
        for linear in (layer.qkv, layer.attention_out, layer.gate_up, layer.ffn_down)
    )
