"""Where the tokens of a step lie, as made for measurements, and its check against a pool."""

from dataclasses import replace

import pytest
import torch

from antiphon.kernels.layout_rows import LayoutRow
from antiphon.kernels.paged_layout import PAGE
from antiphon.kernels.samples import layout_of

CPU = torch.device("cpu")
ROWS = [(1, 130), (64, 64), (3, 3)]  # a decode with three pages, a prompt that fills one, a short one


def test_each_token_has_the_slot_of_its_place_in_its_own_pages() -> None:
    """The last tokens of a row are the new ones, and no two rows share a page."""
    layout, pages = layout_of(ROWS, CPU)
    assert pages == 5
    assert [(row.first, row.tokens, row.context) for row in layout.rows] == [(0, 1, 130), (1, 64, 64), (65, 3, 3)]
    assert sorted(page for row in layout.rows for page in row.pages) == list(range(pages))
    slots = layout.slots.tolist()
    for row in layout.rows:
        for token in range(row.tokens):
            at = row.context - row.tokens + token
            assert slots[row.first + token] == row.pages[at // PAGE] * PAGE + at % PAGE


def test_rows_hold_no_page_behind_their_last() -> None:
    """What a page table holds there is never read, whatever it is."""
    layout, pages = layout_of(ROWS, CPU)
    table = layout.page_table.clone()
    table[2, 1:] = 10**6
    poisoned = replace(layout, page_table=table)
    poisoned.check(pages, CPU)
    assert isinstance(poisoned.rows[2], LayoutRow)
    assert len(poisoned.rows[2].pages) == 1


def test_what_lies_outside_the_pool_is_refused() -> None:
    """A page, a slot, and either below zero, with the numbers; -1 is a padding token."""
    layout, pages = layout_of(ROWS, CPU)
    layout.check(pages, CPU)
    with pytest.raises(
        ValueError, match=r"found 4, expected 0 to 3: the pool has 4 pages|found \d+, expected -1 to 255"
    ):
        layout.check(pages - 1, CPU)
    negative = layout.page_table.clone()
    negative[0, 0] = -1
    with pytest.raises(ValueError, match="page_table: found -1, expected 0 to 4"):
        replace(layout, page_table=negative).check(pages, CPU)
    for slot, refused in ((-1, False), (-2, True), (pages * PAGE, True)):
        slots = layout.slots.clone()
        slots[5] = slot
        changed = replace(layout, slots=slots)
        if refused:
            with pytest.raises(ValueError, match=f"slots: found {slot}, expected -1 to {pages * PAGE - 1}"):
                changed.check(pages, CPU)
        else:
            changed.check(pages, CPU)
            assert changed.padded
    assert not layout.padded
