"""Causal attention over a paged cache."""

import torch

from antiphon.kernels.checks import (
    expect_contiguous,
    expect_float,
    expect_like,
    expect_shape,
    expect_table,
    once_a_kind,
)
from antiphon.kernels.paged_layout import PAGE, PagedLayout
from antiphon.kernels.reference.paged_attention import paged_attention as paged_attention_reference
from antiphon.kernels.registry import Backend, backend_for, facts_for

_QUANTISED = (torch.int8, torch.float8_e4m3fn)
_MOST_WIDTH = 256  # wider heads do not fit into the registers of any target


def paged_attention(
    q: torch.Tensor,
    key_pages: torch.Tensor,
    value_pages: torch.Tensor,
    layout: PagedLayout,
    *,
    scale: float | None = None,
    key_scales: torch.Tensor | None = None,
    value_scales: torch.Tensor | None = None,
    batch_invariant: bool = False,
) -> torch.Tensor:
    """Attention of each row's queries on its own keys: of n tokens and c keys, query i sees keys 0 to c - n + i.

    ``q`` is [tokens, heads, width]; the pages are [pages, 64, kv heads, width], where heads is a multiple of kv heads
    (grouped queries, arXiv 2305.13245) and width at most 256. ``scale`` is width^-0.5 unless given. Pages in int8 or
    float8_e4m3fn come with ``key_scales`` and ``value_scales`` [pages, 64, kv heads] in float32, as
    ``write_quantised_kv`` leaves them. Unused pages, and what lies behind a row's last key, may hold anything.

    ``batch_invariant``: a token's result has the same bits whatever else is in the step and however its prompt is cut
    into chunks; prompts take longer.

    Raises:
        ValueError: shapes, dtypes, strides or devices do not fit, or the longest row has more keys than the page table
            has room for. Page numbers are compared with the pool where the table lies on the host; on a device nobody
            can look at them without waiting for it, and a wrong one is read past the pool.
    """
    _check(q, key_pages, value_pages, key_scales, value_scales)
    layout.check(key_pages.shape[0], q.device)
    tokens, heads, width = q.shape
    rows, kv_heads = layout.context_tokens.shape[0], key_pages.shape[2]
    if not tokens or not rows:
        return torch.empty_like(q)
    scale = width**-0.5 if scale is None else scale
    if backend_for(q) is Backend.REFERENCE:
        return paged_attention_reference(
            q,
            key_pages,
            value_pages,
            layout,
            scale=scale,
            key_scales=key_scales,
            value_scales=value_scales,
            batch_invariant=batch_invariant,
        )
    from antiphon.kernels.device.paged_attention import paged_attention_launcher
    from antiphon.kernels.device.paged_attention_tiles import plan_attention

    out = torch.empty_like(q)
    plan = plan_attention(heads, kv_heads, width, key_pages.dtype, layout, facts_for(q), batch_invariant)
    split_out = split_state = None
    if plan.splits > 1:
        room = (rows, plan.few, heads, plan.splits)
        split_out = torch.empty(*room, width, dtype=torch.float32, device=q.device)
        split_state = torch.empty(*room, 2, dtype=torch.float32, device=q.device)
    paged_attention_launcher(
        out,
        split_out,
        split_state,
        q,
        key_pages,
        value_pages,
        key_scales,
        value_scales,
        layout,
        scale,
        plan,
        batch_invariant,
    )
    return out


@once_a_kind
def _check(
    q: torch.Tensor,
    key_pages: torch.Tensor,
    value_pages: torch.Tensor,
    key_scales: torch.Tensor | None,
    value_scales: torch.Tensor | None,
) -> None:
    expect_float("q", q)
    if q.dim() != 3 or key_pages.dim() != 4:
        raise ValueError(
            f"found q of shape {tuple(q.shape)} and key_pages of shape {tuple(key_pages.shape)}, "
            f"expected [tokens, heads, width] and [pages, {PAGE}, kv heads, width]"
        )
    _, heads, width = q.shape
    pages, _, kv_heads, _ = key_pages.shape
    if not 1 <= width <= _MOST_WIDTH:
        raise ValueError(f"q: found heads of width {width}, expected 1 to {_MOST_WIDTH}")
    if not kv_heads or not heads or heads % kv_heads:
        raise ValueError(f"q: found {heads} heads for {kv_heads} key-value heads, expected a multiple of them")
    quantised = key_pages.dtype in _QUANTISED
    expect_contiguous("q", q)
    for name, found, scales in (
        ("key", key_pages, key_scales),
        ("value", value_pages, value_scales),
    ):
        expect_shape(f"{name}_pages", found, (pages, PAGE, kv_heads, width))
        expect_like(f"{name}_pages", found, key_pages if quantised else q)
        if found.device != q.device:
            raise ValueError(f"{name}_pages: found device {found.device}, expected {q.device}")
        expect_contiguous(f"{name}_pages", found)
        if quantised != (scales is not None):
            wanted = "scales for 8-bit pages" if quantised else f"none for pages in {key_pages.dtype}"
            raise ValueError(f"{name}_scales: found {'none' if scales is None else 'scales'}, expected {wanted}")
        if scales is not None:
            expect_table(f"{name}_scales", scales, (pages, PAGE, kv_heads), q.device)
            expect_contiguous(f"{name}_scales", scales)
