"""All that lies between a layer's first projection and its second, in plain torch, for every layer of a step."""

import torch

from antiphon.kernels.checks import expect_shape
from antiphon.kernels.paged_layout import PagedLayout
from antiphon.kernels.reference.paged_attention import PagedAttention
from antiphon.kernels.reference.rotary_cache import CacheWriter
from antiphon.kernels.rotation import Rotation


class ReferenceAttentionStep:
    """``rotary_cache`` and ``paged_attention``, one after the other."""

    def __init__(
        self,
        rotation: Rotation,
        keys: torch.Tensor,
        values: torch.Tensor,
        layout: PagedLayout,
        *,
        heads: int,
        kv_heads: int,
        eps: float,
        batch_invariant: bool,
    ) -> None:
        self._shape = layout.slots.shape[0], (heads + 2 * kv_heads) * keys.shape[-1]
        self._write = CacheWriter(rotation, keys, values, layout, heads=heads, kv_heads=kv_heads, eps=eps)
        self._attend = PagedAttention(keys, values, layout, batch_invariant=batch_invariant)

    def __call__(
        self, layer: int, qkv: torch.Tensor, q_norm: torch.Tensor | None = None, k_norm: torch.Tensor | None = None
    ) -> torch.Tensor:
        """[tokens, heads * width].

        Raises:
            ValueError: ``qkv`` is not [tokens, (heads + 2 * kv_heads) * width].
        """
        expect_shape("qkv", qkv, self._shape)
        return self._attend(layer, self._write(layer, qkv, q_norm, k_norm))
