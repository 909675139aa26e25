"""The Llama family: RMS norm, rotary positions, grouped-query attention, SwiGLU (arXiv 2302.13971, 2305.13245)."""

import math
from dataclasses import dataclass

import torch
from torch.nn.functional import embedding, linear, scaled_dot_product_attention

from antiphon.kernels.ops import rms_norm, rotary, silu_mul
from antiphon.runtime.engine.config import ModelConfig, RopeScaling
from antiphon.runtime.engine.kv_cache import KvCache
from antiphon.runtime.engine.weights import Weights


@dataclass(frozen=True, kw_only=True)
class _Layer:
    attention_norm: torch.Tensor  # [width]
    qkv: torch.Tensor  # [(heads + 2 kv_heads) * head_width, width], fused: fewer, larger products
    attention_out: torch.Tensor  # [width, heads * head_width]
    ffn_norm: torch.Tensor  # [width]
    gate_up: torch.Tensor  # [2 * ffn_width, width]
    ffn_down: torch.Tensor  # [width, ffn_width]


class Llama:
    """A model in memory. Stateless between calls: what it remembers of a request is in the KvCache."""

    def __init__(self, config: ModelConfig, weights: Weights, dtype: torch.dtype, device: torch.device) -> None:
        """Copy the weights to ``device``.

        Raises:
            ModelFileError: a tensor is missing, unreadable or of another shape.
        """
        self.config = config
        self.dtype = dtype
        self.device = device

        def take(name: str, *shape: int) -> torch.Tensor:
            return weights.get(f"{name}.weight", shape).to(device=device, dtype=dtype)

        width, ffn = config.width, config.ffn_width
        q_rows, kv_rows = config.heads * config.head_width, config.kv_heads * config.head_width
        self._embedding = take("model.embed_tokens", config.vocabulary, width)
        self._norm = take("model.norm", width)
        self._head = self._embedding if config.tied_embeddings else take("lm_head", config.vocabulary, width)
        self._layers = []
        for index in range(config.layers):
            at = f"model.layers.{index}"
            q, k, v = (
                take(f"{at}.self_attn.{part}_proj", rows, width)
                for part, rows in (("q", q_rows), ("k", kv_rows), ("v", kv_rows))
            )
            gate, up = (take(f"{at}.mlp.{part}_proj", ffn, width) for part in ("gate", "up"))
            self._layers.append(
                _Layer(
                    attention_norm=take(f"{at}.input_layernorm", width),
                    qkv=torch.cat((q, k, v)),
                    attention_out=take(f"{at}.self_attn.o_proj", width, q_rows),
                    ffn_norm=take(f"{at}.post_attention_layernorm", width),
                    gate_up=torch.cat((gate, up)),
                    ffn_down=take(f"{at}.mlp.down_proj", width, ffn),
                )
            )
        frequencies = rope_frequencies(config.rope_theta, config.head_width, config.rope_scaling)
        if "rope_freqs.weight" in weights:  # GGUF stores Llama 3's scaling as one divisor a frequency
            frequencies = frequencies / weights.get("rope_freqs.weight", (config.head_width // 2,)).float()
        self._frequencies = frequencies.to(device)

    def new_cache(self) -> KvCache:
        """An empty cache for one request."""
        return KvCache(self.config, self.dtype, self.device)

    @torch.inference_mode()
    def forward(self, ids: torch.Tensor, cache: KvCache) -> torch.Tensor:
        """Compute the tokens ``ids`` that follow what ``cache`` holds, and add them to it.

        Returns the normed hidden state of each, [tokens, width].
        """
        tokens, start = ids.shape[0], cache.length
        cache.reserve(start + tokens)
        positions = torch.arange(start, start + tokens, device=self.device, dtype=torch.float32)
        angles = positions[:, None] * self._frequencies
        cos, sin = angles.cos(), angles.sin()
        mask = None
        if start and tokens > 1:  # causal, aligned to the lower right corner
            mask = torch.ones(tokens, start + tokens, dtype=torch.bool, device=self.device).tril(start)
        eps = self.config.norm_eps
        x = embedding(ids, self._embedding)
        for index, layer in enumerate(self._layers):
            attended = self._attend(index, layer, rms_norm(x, layer.attention_norm, eps), cos, sin, mask, cache)
            x = x + _project(attended, layer.attention_out)
            gate_up = _project(rms_norm(x, layer.ffn_norm, eps), layer.gate_up)
            x = x + _project(silu_mul(gate_up), layer.ffn_down)
        cache.advance(tokens)
        return rms_norm(x, self._norm, eps)

    @torch.inference_mode()
    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Scores over the vocabulary, float32, for hidden states [tokens, width]."""
        return _project(hidden, self._head).float()

    def _attend(
        self,
        index: int,
        layer: _Layer,
        x: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        mask: torch.Tensor | None,
        cache: KvCache,
    ) -> torch.Tensor:
        heads, kv_heads, head_width = self.config.heads, self.config.kv_heads, self.config.head_width
        tokens = x.shape[0]
        qkv = _project(x, layer.qkv).view(tokens, heads + 2 * kv_heads, head_width)
        turned = rotary(qkv[:, : heads + kv_heads], cos, sin)  # queries and keys in one go
        keys, values = cache.write(index, turned[:, heads:], qkv[:, heads + kv_heads :])
        queries = turned[:, :heads]
        if tokens == 1:  # the heads that share a key-value head are its rows: no copy of the keys
            grouped = queries.reshape(1, kv_heads, heads // kv_heads, head_width)
            return scaled_dot_product_attention(grouped, keys[None], values[None]).reshape(1, -1)
        attended = scaled_dot_product_attention(
            queries.transpose(0, 1)[None],
            keys[None],
            values[None],
            attn_mask=mask,
            is_causal=mask is None,
            enable_gqa=heads != kv_heads,
        )
        return attended[0].transpose(0, 1).reshape(tokens, heads * head_width)


def _project(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """``x @ weight.T``. One bfloat16 row on a CPU takes the matrix-vector routine: 0.8 of the time of oneDNN's product,
    which lays the weight out anew at each call."""
    if x.shape[0] == 1 and x.device.type == "cpu":
        return torch.mv(weight, x[0])[None]
    return linear(x, weight)


def rope_frequencies(theta: float, head_width: int, scaling: RopeScaling | None) -> torch.Tensor:
    """Radians a token for each of the head_width / 2 pairs (arXiv 2104.09864), scaled as the config says.

    ``llama3`` keeps high frequencies, divides low ones by the factor and blends between (Llama 3.1's release code).
    """
    exponents = torch.arange(0, head_width, 2, dtype=torch.float32) / head_width
    frequencies = 1.0 / theta**exponents
    if scaling is None:
        return frequencies
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    turns = scaling.original_context_tokens * frequencies / (2 * math.pi)
    blend = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    blend = blend.clamp(0, 1)
    return frequencies * (blend + (1 - blend) / scaling.factor)
