"""Norms, rotation and cache write: all that lies between a layer's first projection and its attention."""

import torch

from antiphon.kernels.checks import expect_contiguous, expect_float, expect_like, expect_shape, once_a_kind
from antiphon.kernels.paged_layout import PAGE, PagedLayout
from antiphon.kernels.reference.rotary_cache import rotary_cache as rotary_cache_reference
from antiphon.kernels.registry import Backend, backend_for
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
    """The turned queries [tokens, heads, width]; writes turned keys, and values, into ``layout.slots`` of the pools.

    ``qkv`` is [tokens, (heads + 2 * kv_heads) * width]: queries, keys, values; tokens may be strided. The pools are
    [pages, 64, kv_heads, width]. ``q_norm`` and ``k_norm`` [width] (both or neither, as in Qwen3) are the weights of
    an RMS norm over each head before it turns. A token whose slot is -1 is padding: its query is turned, nothing is
    written.

    Raises:
        ValueError: shapes, dtypes, devices or strides do not fit, or a slot lies outside the pool (which is looked at
            where ``layout`` lies in the host's memory; see ``PagedLayout.check``).
    """
    tokens = layout.slots.shape[0]
    _check(
        qkv,
        rotation.cos,
        rotation.sin,
        key_pages,
        value_pages,
        q_norm,
        k_norm,
        tokens=tokens,
        heads=heads,
        kv_heads=kv_heads,
    )
    layout.check(key_pages.shape[0], qkv.device)
    if backend_for(qkv) is Backend.REFERENCE:
        return rotary_cache_reference(
            qkv,
            rotation,
            key_pages,
            value_pages,
            layout,
            heads=heads,
            kv_heads=kv_heads,
            q_norm=q_norm,
            k_norm=k_norm,
            eps=eps,
        )
    from antiphon.kernels.device.rotary_cache import rotary_cache_launcher

    q = torch.empty(qkv.shape[0], heads, key_pages.shape[-1], dtype=qkv.dtype, device=qkv.device)
    if q.numel():
        rotary_cache_launcher(
            q,
            key_pages,
            value_pages,
            qkv if qkv.stride(1) == 1 else qkv.contiguous(),
            rotation.cos.contiguous(),
            rotation.sin.contiguous(),
            layout.slots.contiguous(),
            None if q_norm is None else q_norm.contiguous(),
            None if k_norm is None else k_norm.contiguous(),
            eps,
        )
    return q


@once_a_kind
def _check(
    qkv: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    key_pages: torch.Tensor,
    value_pages: torch.Tensor,
    q_norm: torch.Tensor | None,
    k_norm: torch.Tensor | None,
    *,
    tokens: int,
    heads: int,
    kv_heads: int,
) -> None:
    width = key_pages.shape[-1]
    expect_float("qkv", qkv)
    expect_shape("qkv", qkv, (tokens, (heads + 2 * kv_heads) * width))
    if width % 2:
        raise ValueError(f"key_pages: found heads of width {width}, expected an even width")
    Rotation(cos, sin).check(tokens, width // 2, qkv.device)
    for name, pages in (("key_pages", key_pages), ("value_pages", value_pages)):
        expect_shape(name, pages, (key_pages.shape[0], PAGE, kv_heads, width))
        expect_like(name, pages, qkv)
        expect_contiguous(name, pages)
    if (q_norm is None) != (k_norm is None):
        raise ValueError("found one of q_norm and k_norm, expected both or neither")
    for name, norm in (("q_norm", q_norm), ("k_norm", k_norm)):
        if norm is not None:
            expect_shape(name, norm, (width,))
            expect_like(name, norm, qkv)
