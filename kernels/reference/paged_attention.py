"""Causal attention over a paged cache in plain torch: one call of torch's own attention a row."""

import torch
from torch.nn.functional import scaled_dot_product_attention

from antiphon.kernels.paged_layout import LayoutRow, PagedLayout


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
    """Attention of ``q`` [tokens, heads, width] on its rows' pages [pages, 64, kv heads, width], aligned to their ends.

    Each row is computed on its own whatever its company, so ``batch_invariant`` has nothing to change.
    """
    tokens, heads, width = q.shape
    kv_heads = key_pages.shape[2]
    # Heads that share keys become the queries of one where there is one token: keys are not repeated.
    grouped = q.view(tokens, 1, kv_heads, heads // kv_heads, width)
    results = []
    for row in layout.rows:
        if not row.tokens:  # padding
            continue
        keys = _keys_of(row, key_pages, key_scales, q.dtype)
        values = _keys_of(row, value_pages, value_scales, q.dtype)
        if row.tokens == 1:
            attended = scaled_dot_product_attention(grouped[row.first], keys, values, scale=scale)
            results.append(attended.view(1, heads, width))
            continue
        whole = row.tokens == row.context
        attended = scaled_dot_product_attention(
            q[row.first : row.first + row.tokens].transpose(0, 1)[None],
            keys,
            values,
            attn_mask=None if whole else _seen(row, q),
            is_causal=whole,
            scale=scale,
            enable_gqa=heads != kv_heads,
        )
        results.append(attended[0].transpose(0, 1))
    if len(results) == 1 and results[0].shape[0] == tokens:
        return results[0].contiguous()
    rest = tokens - sum(row.tokens for row in layout.rows)  # padding behind the last row
    return torch.cat([*results, q.new_zeros(rest, heads, width)] if rest else results)


def _keys_of(row: LayoutRow, pages: torch.Tensor, scales: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor:
    """The row's keys or values as [1, kv heads, context, width]; a view where its pages follow each other."""
    if row.follow and scales is None:  # in one operation: a step of 16 rows and 30 layers does this 960 times
        _, _, kv_heads, width = pages.shape
        start = pages.storage_offset() + row.pages[0] * pages.stride(0)
        return pages.as_strided((1, kv_heads, row.context, width), (0, width, kv_heads * width, 1), start)
    index = torch.tensor(row.pages, device=pages.device)
    found = pages[index].flatten(0, 1)[: row.context]
    if scales is not None:
        found = (found.float() * scales[index].flatten(0, 1)[: row.context, :, None]).to(dtype)
    return found.transpose(0, 1)[None]


def _seen(row: LayoutRow, q: torch.Tensor) -> torch.Tensor:
    """Which keys each query sees, [tokens, context]: those up to its own."""
    seen = torch.ones(row.tokens, row.context, dtype=torch.bool, device=q.device)
    return seen.tril(row.context - row.tokens)
