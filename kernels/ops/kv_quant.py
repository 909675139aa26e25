"""Keys and values into an 8-bit cache."""

import torch

from antiphon.kernels.checks import (
    expect_contiguous,
    expect_float,
    expect_like,
    expect_quantised,
    expect_shape,
    expect_table,
)
from antiphon.kernels.paged_layout import PAGE
from antiphon.kernels.reference.kv_quant import write_quantised_kv as write_quantised_kv_reference
from antiphon.kernels.registry import Backend, backend_for


def write_quantised_kv(
    keys: torch.Tensor,
    values: torch.Tensor,
    key_pages: torch.Tensor,
    value_pages: torch.Tensor,
    key_scales: torch.Tensor,
    value_scales: torch.Tensor,
    slots: torch.Tensor,
) -> None:
    """Write ``keys`` and ``values`` [tokens, kv heads, width] to ``slots`` (page * 64 + offset), in 8 bits.

    The pages [pages, 64, kv heads, width] are int8 or float8_e4m3fn; the scales [pages, 64, kv heads], float32, get the
    number by which a token's codes of one head are multiplied: its largest magnitude becomes 127 or 448. Tokens and
    heads may be strided, as slices of a fused projection are. A token whose slot is -1 is padding.

    Raises:
        ValueError: shapes, dtypes, strides or devices do not fit, or a slot lies outside the pool (which is looked at
            where ``slots`` lies in the host's memory).
    """
    expect_quantised(key_pages.dtype)
    if keys.dim() != 3 or key_pages.dim() != 4:
        raise ValueError(
            f"found keys of shape {tuple(keys.shape)} and key_pages of shape {tuple(key_pages.shape)}, "
            f"expected [tokens, kv heads, width] and [pages, {PAGE}, kv heads, width]"
        )
    tokens, kv_heads, width = keys.shape
    pool = (key_pages.shape[0], PAGE, kv_heads)
    for name, new, pages, scales in (
        ("key", keys, key_pages, key_scales),
        ("value", values, value_pages, value_scales),
    ):
        expect_float(f"{name}s", new)
        expect_shape(f"{name}s", new, (tokens, kv_heads, width))
        expect_like(f"{name}s", new, keys)
        if new.stride(2) != 1:
            raise ValueError(f"{name}s: found strides {new.stride()}, expected a contiguous last dimension")
        expect_shape(f"{name}_pages", pages, (*pool, width))
        if pages.dtype != key_pages.dtype or pages.device != keys.device:
            found = f"{pages.dtype} on {pages.device}"
            raise ValueError(f"{name}_pages: found {found}, expected {key_pages.dtype} on {keys.device}")
        expect_contiguous(f"{name}_pages", pages)
        expect_table(f"{name}_scales", scales, pool, keys.device)
        expect_contiguous(f"{name}_scales", scales)
    expect_shape("slots", slots, (tokens,))
    expect_contiguous("slots", slots)
    if slots.dtype is not torch.int64 or slots.device != keys.device:
        raise ValueError(f"slots: found {slots.dtype} on {slots.device}, expected torch.int64 on {keys.device}")
    if not tokens:
        return
    if slots.device.type == "cpu":
        lowest, highest = int(slots.min()), int(slots.max())
        if lowest < -1 or highest >= pool[0] * PAGE:
            wrong = lowest if lowest < -1 else highest
            raise ValueError(f"slots: found {wrong}, expected -1 to {pool[0] * PAGE - 1}")
    if backend_for(keys) is Backend.REFERENCE:
        write_quantised_kv_reference(keys, values, key_pages, value_pages, key_scales, value_scales, slots)
        return
    from antiphon.kernels.device.kv_quant import write_quantised_kv_launcher

    write_quantised_kv_launcher(keys, values, key_pages, value_pages, key_scales, value_scales, slots)
