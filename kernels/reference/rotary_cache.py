"""Norms, rotation and cache write in plain torch."""

import torch

from antiphon.kernels.paged_layout import PagedLayout
from antiphon.kernels.reference.rms_norm import rms_norm
from antiphon.kernels.rotation import Rotation


class CacheWriter:
    """``rotary_cache`` for every layer of a step. Buffers and views are made once: for one token a view of a tensor
    takes as long as arithmetic on it, and a layer that makes its own takes three times as long."""

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
    ) -> None:
        """``keys`` and ``values`` are the pools of all layers, [layers, pages, 64, kv heads, width]."""
        tokens, width, device = layout.slots.shape[0], keys.shape[-1], keys.device
        half, turning = width // 2, heads + kv_heads
        self._eps = eps
        self._heads = heads
        self._parts = (tokens, turning + kv_heads, width)
        self._whole = torch.empty(tokens, (turning + kv_heads) * width, dtype=torch.float32, device=device)
        parts = self._whole.view(self._parts)
        self._given, new_values = parts[:, :turning], parts[:, turning:]
        self._turned = torch.empty(tokens, turning, width, dtype=torch.float32, device=device)
        self._turned_queries, new_keys = self._turned[:, :heads], self._turned[:, heads:]
        self._queries = torch.empty(tokens, heads, width, dtype=keys.dtype, device=device)
        # Element i of each head turns with element i + half (arXiv 2104.09864).
        sin = rotation.sin[:, None]
        self._cos = torch.cat((rotation.cos, rotation.cos), -1)[:, None]
        self._halves = (
            (self._turned[..., :half], self._given[..., half:], -sin),
            (self._turned[..., half:], self._given[..., :half], sin),
        )
        self._written = tuple(_Slots(pools, layout, new) for pools, new in ((keys, new_keys), (values, new_values)))

    def __call__(
        self, layer: int, qkv: torch.Tensor, q_norm: torch.Tensor | None, k_norm: torch.Tensor | None
    ) -> torch.Tensor:
        """The turned queries, good until the next call; keys and values lie in the layer's pools."""
        self._whole.copy_(qkv)
        if q_norm is not None and k_norm is not None:
            parts, heads = qkv.view(self._parts), self._heads
            turning = self._given.shape[1]
            self._given[:, :heads].copy_(rms_norm(parts[:, :heads], q_norm, self._eps))
            self._given[:, heads:].copy_(rms_norm(parts[:, heads:turning], k_norm, self._eps))
        torch.mul(self._given, self._cos, out=self._turned)
        for turned, other, sin in self._halves:
            turned.addcmul_(other, sin)
        for slots in self._written:
            slots.write(layer)
        return self._queries.copy_(self._turned_queries)


class _Slots:
    """Where a step's keys, or its values, go in each layer."""

    def __init__(self, pools: torch.Tensor, layout: PagedLayout, new: torch.Tensor) -> None:
        """``new`` [tokens, kv heads, width], float32, holds what is to be written at each call."""
        flat = pools.flatten(1, 2)
        self._new = new
        self._kept: torch.Tensor | None = None
        self._index: torch.Tensor | None = None
        if layout.padded:
            kept = layout.slots >= 0
            self._kept, self._index = kept, layout.slots[kept]
        elif len(layout.slots) != 1:
            self._index = layout.slots
        else:  # one token's place is a view: it is written without looking it up
            flat = flat.narrow(1, int(layout.slots[0]), 1)
        self._layers = flat.unbind(0)

    def write(self, layer: int) -> None:
        target = self._layers[layer]
        if self._index is None:
            target.copy_(self._new)
            return
        new = self._new if self._kept is None else self._new[self._kept]
        target.index_copy_(0, self._index, new.to(target.dtype))


def rotary_cache(
    qkv: torch.Tensor,
    rotation: Rotation,
    key_pages: torch.Tensor,
    value_pages: torch.Tensor,
    layout: PagedLayout,
    *,
    heads: int,
    kv_heads: int,
    q_norm: torch.Tensor | None = None,
    k_norm: torch.Tensor | None = None,
    eps: float = 1e-6,
) -> torch.Tensor:
    """The turned queries [tokens, heads, width]; keys and values lie in the pools' ``layout.slots`` afterwards."""
    writer = CacheWriter(rotation, key_pages[None], value_pages[None], layout, heads=heads, kv_heads=kv_heads, eps=eps)
    return writer(0, qkv, q_norm, k_norm)
