"""All that lies between a layer's first projection and its second, prepared once for every layer of a step."""

from typing import Protocol

import torch

from antiphon.kernels.checks import expect_contiguous, expect_float, expect_like, expect_shape
from antiphon.kernels.ops.paged_attention import paged_attention
from antiphon.kernels.ops.rotary_cache import rotary_cache
from antiphon.kernels.paged_layout import PAGE, PagedLayout
from antiphon.kernels.reference.attention_step import ReferenceAttentionStep
from antiphon.kernels.registry import Backend, backend_for
from antiphon.kernels.rotation import Rotation


class AttentionStep(Protocol):
    """Norms, rotation, cache write and attention of one layer after another."""

    def __call__(
        self, layer: int, qkv: torch.Tensor, q_norm: torch.Tensor | None = None, k_norm: torch.Tensor | None = None
    ) -> torch.Tensor:
        """[tokens, heads * width]: attention of the layer's queries on all keys of their rows.

        ``qkv`` is [tokens, (heads + 2 * kv_heads) * width] and the norms [width], as in ``rotary_cache``.
        """
        ...


def attention_step(
    rotation: Rotation,
    keys: torch.Tensor,
    values: torch.Tensor,
    layout: PagedLayout,
    *,
    heads: int,
    kv_heads: int,
    eps: float = 1e-6,
    batch_invariant: bool = False,
) -> AttentionStep:
    """``rotary_cache`` and then ``paged_attention``, for layers whose pools are ``keys`` and ``values`` [layers, pages,
    64, kv heads, width].

    In plain torch arguments are looked at here, once for all layers, and what is the same in all of them is computed
    here; elsewhere each op does as it does alone.

    Raises:
        ValueError: as these ops.
    """
    if backend_for(keys) is not Backend.REFERENCE:
        return _Ops(rotation, keys, values, layout, heads, kv_heads, eps, batch_invariant)
    expect_float("keys", keys)
    if keys.dim() != 5 or keys.shape[-1] % 2 or not kv_heads or heads % kv_heads:
        raise ValueError(
            f"found keys of shape {tuple(keys.shape)}, {heads} heads and {kv_heads} key-value heads, expected [layers, "
            f"pages, {PAGE}, kv heads, an even width] and a multiple of the key-value heads"
        )
    layers, pages, _, _, width = keys.shape
    for name, pools in (("keys", keys), ("values", values)):
        expect_shape(name, pools, (layers, pages, PAGE, kv_heads, width))
        expect_like(name, pools, keys)
        expect_contiguous(name, pools)
    rotation.check(layout.slots.shape[0], width // 2, keys.device)
    layout.check(pages, keys.device)
    return ReferenceAttentionStep(
        rotation, keys, values, layout, heads=heads, kv_heads=kv_heads, eps=eps, batch_invariant=batch_invariant
    )


class _Ops:
    """One op after the other, each with its own checks."""

    def __init__(
        self,
        rotation: Rotation,
        keys: torch.Tensor,
        values: torch.Tensor,
        layout: PagedLayout,
        heads: int,
        kv_heads: int,
        eps: float,
        batch_invariant: bool,
    ) -> None:
        self._rotation, self._layout = rotation, layout
        self._pools = list(zip(keys.unbind(0), values.unbind(0), strict=True))
        self._heads, self._kv_heads = heads, kv_heads
        self._eps = eps
        self._batch_invariant = batch_invariant

    def __call__(
        self, layer: int, qkv: torch.Tensor, q_norm: torch.Tensor | None = None, k_norm: torch.Tensor | None = None
    ) -> torch.Tensor:
        keys, values = self._pools[layer]
        queries = rotary_cache(
            qkv,
            self._rotation,
            keys,
            values,
            self._layout,
            heads=self._heads,
            kv_heads=self._kv_heads,
            q_norm=q_norm,
            k_norm=k_norm,
            eps=self._eps,
        )
        return paged_attention(queries, keys, values, self._layout, batch_invariant=self._batch_invariant).flatten(1)
