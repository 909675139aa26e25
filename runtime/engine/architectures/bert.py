"""BERT, of which MiniLM is a small one: attention in both directions, norms after each part (arXiv 1810.04805)."""

from dataclasses import dataclass

import torch
from torch.nn.functional import embedding, gelu, layer_norm, linear, scaled_dot_product_attention

from antiphon.runtime.engine.config import EncoderConfig
from antiphon.runtime.engine.weights import Weights


@dataclass(frozen=True, kw_only=True)
class _Linear:
    weight: torch.Tensor  # [out, in]
    bias: torch.Tensor  # [out]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self.weight, self.bias)


@dataclass(frozen=True, kw_only=True)
class _Norm:
    weight: torch.Tensor  # [width]
    bias: torch.Tensor  # [width]
    eps: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True, kw_only=True)
class _Layer:
    qkv: _Linear  # [3 width, width], fused
    attention_out: _Linear
    attention_norm: _Norm
    up: _Linear  # [ffn_width, width]
    down: _Linear
    ffn_norm: _Norm


class Bert:
    """A model in memory. Stateless between calls."""

    def __init__(self, config: EncoderConfig, weights: Weights, dtype: torch.dtype, device: torch.device) -> None:
        """Copy the weights to ``device``.

        Raises:
            ModelFileError: a tensor is missing, unreadable or of another shape.
        """
        self.config = config
        self.device = device
        width, ffn = config.width, config.ffn_width
        prefix = "" if "embeddings.word_embeddings.weight" in weights else "bert."  # with a head it is one level down

        def take(name: str, *shape: int) -> torch.Tensor:
            return weights.get(prefix + name, shape).to(device=device, dtype=dtype)

        def product(name: str, rows: int, columns: int) -> _Linear:
            return _Linear(weight=take(f"{name}.weight", rows, columns), bias=take(f"{name}.bias", rows))

        def norm(name: str) -> _Norm:
            return _Norm(weight=take(f"{name}.weight", width), bias=take(f"{name}.bias", width), eps=config.norm_eps)

        self._words = take("embeddings.word_embeddings.weight", config.vocabulary, width)
        types = take("embeddings.token_type_embeddings.weight", config.token_types, width)
        # Every token of a single text has type 0, so its embedding is added to the positions once.
        self._positions = take("embeddings.position_embeddings.weight", config.context_tokens, width) + types[0]
        self._norm = norm("embeddings.LayerNorm")
        self._layers: list[_Layer] = []
        for index in range(config.layers):
            at = f"encoder.layer.{index}"
            q, k, v = (product(f"{at}.attention.self.{part}", width, width) for part in ("query", "key", "value"))
            self._layers.append(
                _Layer(
                    qkv=_Linear(
                        weight=torch.cat((q.weight, k.weight, v.weight)), bias=torch.cat((q.bias, k.bias, v.bias))
                    ),
                    attention_out=product(f"{at}.attention.output.dense", width, width),
                    attention_norm=norm(f"{at}.attention.output.LayerNorm"),
                    up=product(f"{at}.intermediate.dense", ffn, width),
                    down=product(f"{at}.output.dense", width, ffn),
                    ffn_norm=norm(f"{at}.output.LayerNorm"),
                )
            )

    @torch.inference_mode()
    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Hidden states [texts, tokens, width] of the last layer, for ids [texts, tokens].

        ``mask`` of the same shape is False where a text is padded; what comes out there means nothing.
        """
        x = self._norm(embedding(ids, self._words) + self._positions[: ids.shape[1]])
        attendable = None if bool(mask.all()) else mask[:, None, None, :]  # [texts, heads, queries, keys]
        for layer in self._layers:
            x = layer.attention_norm(x + layer.attention_out(self._attend(layer.qkv(x), attendable)))
            x = layer.ffn_norm(x + layer.down(gelu(layer.up(x))))
        return x

    def _attend(self, qkv: torch.Tensor, attendable: torch.Tensor | None) -> torch.Tensor:
        texts, tokens, _ = qkv.shape
        heads, width = self.config.heads, self.config.width
        queries, keys, values = qkv.view(texts, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(queries, keys, values, attn_mask=attendable)
        return attended.transpose(1, 2).reshape(texts, tokens, width)
