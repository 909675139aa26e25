"""Norms, rotation and cache write in plain torch."""

import torch

from antiphon.kernels.paged_layout import PagedLayout
from antiphon.kernels.reference.rms_norm import rms_norm
from antiphon.kernels.reference.rotary import rotary
from antiphon.kernels.rotation import Rotation


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
    width = key_pages.shape[-1]
    parts = qkv.view(qkv.shape[0], heads + 2 * kv_heads, width)
    both, values = parts[:, : heads + kv_heads], parts[:, heads + kv_heads :]
    if q_norm is not None and k_norm is not None:
        both = torch.cat((rms_norm(both[:, :heads], q_norm, eps), rms_norm(both[:, heads:], k_norm, eps)), dim=1)
    turned = rotary(both, rotation)
    keys, slots = turned[:, heads:], layout.slots
    if layout.padded:
        kept = slots >= 0
        keys, values, slots = keys[kept], values[kept], slots[kept]
    key_pages.view(-1, kv_heads, width).index_copy_(0, slots, keys)
    value_pages.view(-1, kv_heads, width).index_copy_(0, slots, values)
    return turned[:, :heads].contiguous()
