"""Causal attention over a paged cache in plain torch: torch's own attention, a call for each row or for many."""

import torch
from torch.nn.functional import scaled_dot_product_attention

from antiphon.kernels.layout_rows import LayoutRow, RowGroup
from antiphon.kernels.paged_layout import PagedLayout


class PagedAttention:
    """``paged_attention`` for every layer of a step: what the layout alone decides is made once.

    The pools are those of all layers, [layers, pages, 64, kv heads, width], and so are their scales.
    """

    def __init__(
        self,
        keys: torch.Tensor,
        values: torch.Tensor,
        layout: PagedLayout,
        *,
        scale: float | None = None,
        key_scales: torch.Tensor | None = None,
        value_scales: torch.Tensor | None = None,
        batch_invariant: bool = False,
    ) -> None:
        """``batch_invariant``: each row on its own, whatever its company. Else rows of one token and about as many keys
        are computed together, with their keys copied side by side: for 16 rows on two cores that takes a third of the
        time at 64 keys and three quarters at 1,000."""
        self._layout = layout
        self._scale = scale
        together = not batch_invariant and key_scales is None
        self._groups, alone = layout.groups if together else ((), layout.rows)
        self._pools = list(zip(keys.flatten(1, 2).unbind(0), values.flatten(1, 2).unbind(0), strict=True))
        self._alone = [
            (row, _RowKeys(row, keys, key_scales), _RowKeys(row, values, value_scales))
            for row in alone
            if row.tokens  # else it is padding
        ]

    def __call__(self, layer: int, q: torch.Tensor) -> torch.Tensor:
        """Attention of ``q`` [tokens, heads, width], heads side by side: [tokens, heads * width]."""
        tokens, heads, width = q.shape
        whole = tokens, heads * width
        out: torch.Tensor | None = None
        for group in self._groups:
            attended = _attend_group(q, *self._pools[layer], group, self._scale)
            if attended.shape == whole:
                return attended
            out = q.new_zeros(whole) if out is None else out  # zeros for padding behind the last row
            out.index_copy_(0, group.rows, attended)
        for row, keys, values in self._alone:
            own = q if row.tokens == tokens else q[row.first : row.first + row.tokens]
            attended = _attend_row(
                own, keys.of(layer, q.dtype), values.of(layer, q.dtype), self._layout, row, self._scale
            )
            if attended.shape == whole:
                return attended
            out = q.new_zeros(whole) if out is None else out
            out[row.first : row.first + row.tokens] = attended
        return q.new_zeros(whole) if out is None else out


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
    """Attention of ``q`` [tokens, heads, width] on the pages [pages, 64, kv heads, width] of its rows, to whose ends it
    is aligned."""
    attention = PagedAttention(
        key_pages[None],
        value_pages[None],
        layout,
        scale=scale,
        key_scales=None if key_scales is None else key_scales[None],
        value_scales=None if value_scales is None else value_scales[None],
        batch_invariant=batch_invariant,
    )
    return attention(0, q).view(q.shape)


def _attend_group(
    q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, group: RowGroup, scale: float | None
) -> torch.Tensor:
    """[rows, heads * width] on pools [slots, kv heads, width]: heads that share keys are the queries of one, so that
    keys are not repeated."""
    tokens, heads, width = q.shape
    rows, kv_heads = len(group.rows), keys.shape[1]
    own_keys, own_values = (
        pool.index_select(0, group.slots).view(rows, -1, kv_heads, width).transpose(1, 2) for pool in (keys, values)
    )
    chosen = q if rows == tokens else q.index_select(0, group.rows)
    grouped = chosen.view(rows, kv_heads, heads // kv_heads, width)
    attended = scaled_dot_product_attention(grouped, own_keys, own_values, attn_mask=group.bias(q.dtype), scale=scale)
    return attended.reshape(rows, heads * width)


def _attend_row(
    q: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    layout: PagedLayout,
    row: LayoutRow,
    scale: float | None,
) -> torch.Tensor:
    """[tokens, heads * width] of one row."""
    tokens, heads, width = q.shape
    kv_heads = keys.shape[1]
    if tokens == 1:
        grouped = q.view(1, kv_heads, heads // kv_heads, width)
        return scaled_dot_product_attention(grouped, keys, values, scale=scale).view(1, heads * width)
    whole = tokens == row.context
    attended = scaled_dot_product_attention(
        q.transpose(0, 1)[None],
        keys,
        values,
        attn_mask=None if whole else layout.causal_bias(row, q.dtype),
        is_causal=whole,
        scale=scale,
        enable_gqa=heads != kv_heads,
    )
    return attended[0].transpose(0, 1).reshape(tokens, heads * width)


class _RowKeys:
    """The keys, or the values, of one row in every layer: views where its pages follow each other, else copies."""

    def __init__(self, row: LayoutRow, pools: torch.Tensor, scales: torch.Tensor | None) -> None:
        self._context = row.context
        self._pools, self._scales = pools, scales
        self._views: tuple[torch.Tensor, ...] | None = None
        if row.follow and scales is None:  # a step of 16 rows and 30 layers asks for 960
            layers, _, _, kv_heads, width = pools.shape
            views = pools.as_strided(
                (layers, 1, kv_heads, row.context, width),
                (pools.stride(0), 0, width, kv_heads * width, 1),
                pools.storage_offset() + row.pages[0] * pools.stride(1),
            )
            self._views = views.unbind(0)
        else:
            self._index = torch.tensor(row.pages, device=pools.device)

    def of(self, layer: int, dtype: torch.dtype) -> torch.Tensor:
        """[1, kv heads, context, width]."""
        if self._views is not None:
            return self._views[layer]
        found = self._pools[layer].index_select(0, self._index).flatten(0, 1)[: self._context]
        if self._scales is not None:
            scales = self._scales[layer].index_select(0, self._index).flatten(0, 1)[: self._context, :, None]
            found = (found.float() * scales).to(dtype)
        return found.transpose(0, 1)[None]
