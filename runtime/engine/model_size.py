"""How much a model weighs and computes, from its configuration alone. Pure."""

from dataclasses import dataclass

from antiphon.runtime.engine.config import ModelConfig


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """Numbers of one model: ``layer_weights`` in all layers' products, ``head_weights`` in the product with the
    vocabulary. Norms and biases, far below 1 %, are left out."""

    layer_weights: int
    head_weights: int
    parameters: int  # with the embedding, which is counted once where it is also the head
    kv_elements: int  # of keys and values, a token
    pair_flops: int  # of attention, for each query and each key that it sees

    def flops(self, *, tokens: int, sampled: int, pairs: int) -> int:
        """Multiplications and additions of a step: ``tokens`` through the layers, ``sampled`` through the head, and
        ``pairs`` of a query and a key."""
        return 2 * (self.layer_weights * tokens + self.head_weights * sampled) + self.pair_flops * pairs


def size_of(config: ModelConfig) -> ModelSize:
    """The numbers of a model with grouped queries and a gated feed-forward part."""
    attention = config.width * config.head_width * 2 * (config.heads + config.kv_heads)
    layer_weights = config.layers * (attention + 3 * config.width * config.ffn_width)
    head_weights = config.width * config.vocabulary
    return ModelSize(
        layer_weights=layer_weights,
        head_weights=head_weights,
        parameters=layer_weights + head_weights * (1 if config.tied_embeddings else 2),
        kv_elements=2 * config.layers * config.kv_heads * config.head_width,
        pair_flops=4 * config.layers * config.heads * config.head_width,
    )
