"""The Llama family: RMS norm, rotary positions, grouped-query attention, SwiGLU (arXiv 2302.13971, 2305.13245).

Mistral, Qwen2 (biases on query, key and value) and Qwen3 (a norm on each head's query and key) are the same but for
two switches of the configuration.
"""

from dataclasses import dataclass

import torch
from torch.nn.functional import embedding

from antiphon.kernels.ops import add_rms_norm, paged_attention, rms_norm, rotary_cache, silu_mul
from antiphon.kernels.paged_layout import PagedLayout
from antiphon.kernels.rotation import Rotation
from antiphon.runtime.engine.config import ModelConfig
from antiphon.runtime.engine.device import Place
from antiphon.runtime.engine.kv_pages import KvPages
from antiphon.runtime.engine.linear import Linear, load_linear
from antiphon.runtime.engine.rope import rope_frequencies
from antiphon.runtime.engine.weights import Weights


@dataclass(frozen=True, kw_only=True)
class _Layer:
    attention_norm: torch.Tensor  # [width]
    qkv: Linear  # to (heads + 2 kv_heads) * head_width, fused: fewer, larger products
    query_norm: torch.Tensor | None  # [head_width]
    key_norm: torch.Tensor | None  # [head_width]
    attention_out: Linear
    ffn_norm: torch.Tensor  # [width]
    gate_up: Linear  # to 2 * ffn_width
    ffn_down: Linear


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
        self._norm = vector("model.norm", width)
        self._layers = []
        for index in range(config.layers):
            at = f"model.layers.{index}"
            attention = f"{at}.self_attn"
            self._layers.append(
                _Layer(
                    attention_norm=vector(f"{at}.input_layernorm", width),
                    qkv=matrix(
                        attention, ("q_proj", "k_proj", "v_proj"), (q_rows, kv_rows, kv_rows), width, config.qkv_bias
                    ),
                    query_norm=vector(f"{attention}.q_norm", head_width) if config.qk_norm else None,
                    key_norm=vector(f"{attention}.k_norm", head_width) if config.qk_norm else None,
                    attention_out=matrix(attention, ("o_proj",), (width,), q_rows),
                    ffn_norm=vector(f"{at}.post_attention_layernorm", width),
                    gate_up=matrix(f"{at}.mlp", ("gate_proj", "up_proj"), (ffn, ffn), width),
                    ffn_down=matrix(f"{at}.mlp", ("down_proj",), (width,), ffn),
                )
            )
        frequencies = rope_frequencies(config.rope_theta, head_width, config.rope_scaling)
        if "rope_freqs.weight" in weights:  # GGUF stores Llama 3's scaling as one divisor a frequency
            frequencies = frequencies / weights.get("rope_freqs.weight", (head_width // 2,)).float()
        self._frequencies = frequencies.to(place.device)
        self._rotary_scale = 1.0 if config.rope_scaling is None else config.rope_scaling.attention_factor

    @property
    def weight_bytes(self) -> int:
        """Memory of the weights, every form of them."""
        linears = [
            linear for each in self._layers for linear in (each.qkv, each.attention_out, each.gate_up, each.ffn_down)
        ]
        tied = self._embedding.nbytes if self.config.tied_embeddings else 0
        return self._embedding.nbytes - tied + self._head.bytes + sum(linear.bytes for linear in linears)

    @torch.inference_mode()
    def forward(self, ids: torch.Tensor, positions: torch.Tensor, layout: PagedLayout, pages: KvPages) -> torch.Tensor:
        """Compute the tokens ``ids`` [tokens] at ``positions`` of their sequences; keys and values go to ``pages``.

        Returns the normed hidden state of each, [tokens, width].
        """
        config, eps = self.config, self.config.norm_eps
        angles = positions[:, None].float() * self._frequencies
        rotation = Rotation(angles.cos() * self._rotary_scale, angles.sin() * self._rotary_scale)
        norms = [layer.attention_norm for layer in self._layers[1:]] + [self._norm]
        x = embedding(ids, self._embedding)
        normed = rms_norm(x, self._layers[0].attention_norm, eps)
        for index, layer in enumerate(self._layers):
            keys, values = pages.layers[index]
            queries = rotary_cache(
                layer.qkv(normed),
                rotation,
                keys,
                values,
                layout,
                heads=config.heads,
                kv_heads=config.kv_heads,
                q_norm=layer.query_norm,
                k_norm=layer.key_norm,
                eps=eps,
            )
            attended = paged_attention(queries, keys, values, layout, batch_invariant=self._batch_invariant)
            normed, x = add_rms_norm(layer.attention_out(attended.flatten(1)), x, layer.ffn_norm, eps)
            normed, x = add_rms_norm(layer.ffn_down(silu_mul(layer.gate_up(normed))), x, norms[index], eps)
        return normed

    @torch.inference_mode()
    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Scores over the vocabulary, float32, for hidden states [tokens, width]."""
        return self._head(hidden).float()
