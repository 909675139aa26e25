"""Rows whose attention is one call: every row is computed once, and as it would be alone."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from antiphon.kernels.layout_rows import LayoutRow, group_rows
from antiphon.kernels.ops import paged_attention
from antiphon.kernels.paged_layout import PAGE, PagedLayout
from antiphon.kernels.samples import layout_of

CPU = torch.device("cpu")
SHAPES = st.lists(st.tuples(st.sampled_from([0, 1, 1, 1, 7]), st.integers(1, 1200)), min_size=1, max_size=40)


def rows_of(shapes: list[tuple[int, int]]) -> list[LayoutRow]:
    """Rows of (tokens, keys), with pages of their own."""
    rows, first, page = [], 0, 0
    for tokens, keys in shapes:
        context = max(keys, tokens)
        count = -(-context // PAGE)
        rows.append(LayoutRow(first, tokens, context, tuple(range(page, page + count)), True))
        first, page = first + tokens, page + count
    return rows


@given(SHAPES)
def test_every_row_is_computed_once(shapes: list[tuple[int, int]]) -> None:
    """In one group or alone; a group's keys are each row's own, repetitions are hidden, and copies are bounded."""
    rows = rows_of(shapes)
    by_first = {row.first: row for row in rows if row.tokens}
    groups, alone = group_rows(rows, PAGE)
    assert sorted([row.first for row in alone] + [first for each in groups for first in each.rows.tolist()]) == sorted(
        by_first
    )
    for group in groups:
        slots = group.slots.view(len(group.rows), -1)
        assert slots.numel() <= 16_384
        hidden = torch.zeros_like(slots, dtype=torch.bool) if group.hidden is None else group.hidden[:, 0, 0]
        for at, first in enumerate(group.rows.tolist()):
            row = by_first[first]
            own = [row.pages[key // PAGE] * PAGE + key % PAGE for key in range(row.context)]
            assert row.tokens == 1
            assert slots[at][~hidden[at]].tolist() == own
            assert set(slots[at].tolist()) <= set(own)  # nothing of another row, nothing that was never written


def test_together_is_as_alone() -> None:
    """Decodes of different lengths beside prompts: the same as each row on its own, whatever unused pages hold."""
    torch.manual_seed(0)
    layout, pages = layout_of([(1, 130), (1, 100), (64, 64), (1, 129), (3, 90), (1, 700), (1, 1)], CPU)
    assert layout.groups[0], "expected decodes that are computed together"
    q = torch.randn(sum(row.tokens for row in layout.rows), 9, 16)
    keys, values = (torch.full((pages + 1, PAGE, 3, 16), torch.nan) for _ in range(2))
    for pool in (keys, values):
        _write(pool, layout)
    together = paged_attention(q, keys, values, layout)
    torch.testing.assert_close(together, paged_attention(q, keys, values, layout, batch_invariant=True))


def _write(pool: torch.Tensor, layout: PagedLayout) -> None:
    """Numbers where the rows' contexts are."""
    for row in layout.rows:
        for key in range(row.context):
            pool[row.pages[key // PAGE], key % PAGE] = torch.randn(pool.shape[2:])
