"""Where the tokens of one step lie in the paged cache."""

import itertools
from dataclasses import dataclass
from functools import cached_property

import torch

from antiphon.kernels.checks import expect_contiguous, expect_shape
from antiphon.kernels.layout_rows import LayoutRow, RowGroup, group_rows

PAGE = 64  # tokens a page


@dataclass(frozen=True)
class PagedLayout:
    """The rows of a step, each some tokens of one sequence. ``context_tokens`` counts this step's tokens too."""

    query_starts: torch.Tensor  # [rows + 1], int32
    context_tokens: torch.Tensor  # [rows], int32
    page_table: torch.Tensor  # [rows, most pages], int32; what lies behind a row's last page is never read
    slots: torch.Tensor  # [tokens], int64: page * 64 + offset of each token's key and value; -1 for padding
    most_queries: int  # tokens of the longest row
    most_context: int  # keys of the longest row

    @cached_property
    def rows(self) -> tuple[LayoutRow, ...]:
        """The same on the host, for implementations that loop over rows."""
        starts, contexts = self.query_starts.tolist(), self.context_tokens.tolist()
        table = self.page_table.tolist()
        rows = []
        for first, last, context, pages in zip(starts[:-1], starts[1:], contexts, table, strict=True):
            own = tuple(pages[: -(-context // PAGE)])
            follow = all(after == page + 1 for page, after in itertools.pairwise(own))
            rows.append(LayoutRow(first, last - first, context, own, follow))
        return tuple(rows)

    @cached_property
    def groups(self) -> tuple[tuple[RowGroup, ...], tuple[LayoutRow, ...]]:
        """Rows whose attention is one call each, and the rows that go alone."""
        return group_rows(self.rows, PAGE)

    def causal_bias(self, row: LayoutRow, dtype: torch.dtype) -> torch.Tensor:
        """What to add to the scores of a row of many tokens that does not begin its sequence, [tokens, context]: 0, and
        minus infinity for keys behind a query's own. Made once for all layers."""
        key = row.tokens, row.context, dtype
        if key not in self._causal:
            bias = torch.full((row.tokens, row.context), float("-inf"), dtype=dtype, device=self.slots.device)
            self._causal[key] = bias.triu_(row.context - row.tokens + 1)
        return self._causal[key]

    @cached_property
    def _causal(self) -> dict[tuple[int, int, torch.dtype], torch.Tensor]:
        return {}

    @cached_property
    def padded(self) -> bool:
        """Whether a token has no slot (-1)."""
        return self._slot_span[0] < 0

    def check(self, pages: int, device: torch.device) -> None:
        """Shapes and dtypes are those above, on ``device``, and slots and pages lie inside a pool of ``pages``.

        Slot -1 (a padding token, which is not written) is allowed. All of it is looked at once a layout, so the ops of
        30 layers pay for it once; and numbers only where they lie in the host's memory: to read numbers of an
        accelerator is to wait for it. There whoever makes the layout checks the numbers.

        Raises:
            ValueError: a tensor that is not as above, a row with more keys than the table has room for, or a number
                outside the pool, with the size of the pool.
        """
        if (pages, device) in self._passed:
            return
        self._check_tensors(device)
        if device.type == "cpu":
            self._check_numbers(pages)
        self._passed.add((pages, device))

    def _check_tensors(self, device: torch.device) -> None:
        rows = self.context_tokens.shape[0]
        for name, table, shape, dtype in (
            ("query_starts", self.query_starts, (rows + 1,), torch.int32),
            ("context_tokens", self.context_tokens, (rows,), torch.int32),
            ("page_table", self.page_table, (rows, self.page_table.shape[-1]), torch.int32),
            ("slots", self.slots, (self.slots.shape[0],), torch.int64),
        ):
            expect_shape(f"layout.{name}", table, shape)
            expect_contiguous(f"layout.{name}", table)
            if table.dtype is not dtype or table.device != device:
                found = f"{table.dtype} on {table.device}"
                raise ValueError(f"layout.{name}: found {found}, expected {dtype} on {device}")
        room = self.page_table.shape[1] * PAGE
        if self.most_context > room:
            raise ValueError(f"layout.page_table: found room for {room} keys, expected {self.most_context} or more")

    def _check_numbers(self, pages: int) -> None:
        for name, (lowest, highest), least, most in (
            ("slots", self._slot_span, -1, pages * PAGE - 1),
            ("page_table", self._page_span, 0, pages - 1),
        ):
            if lowest < least or highest > most:
                found = lowest if lowest < least else highest
                raise ValueError(f"{name}: found {found}, expected {least} to {most}: the pool has {pages} pages")

    @cached_property
    def _passed(self) -> set[tuple[int, torch.device]]:
        return set()

    @cached_property
    def _slot_span(self) -> tuple[int, int]:
        slots = self.slots.tolist() or [0]
        return min(slots), max(slots)

    @cached_property
    def _page_span(self) -> tuple[int, int]:
        pages = [page for row in self.rows for page in row.pages] or [0]
        return min(pages), max(pages)
