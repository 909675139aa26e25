"""A step's rows on the host, and which of them are computed in one call."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch

# Two threads, 16 rows, one call with copied keys against a call a row: 0.18 and 0.64 ms at 64 keys, 0.57 and 1.10 at
# 200, 3.7 and 4.9 at 1,000; beyond, copying takes what calls did, and with one thread it does from 200 on.
_MOST_KEYS = 512
_MOST_COPIED = 16_384  # keys a group: what the copy takes is bounded


class LayoutRow(NamedTuple):
    """One row: ``tokens`` of them from ``first`` in the batch; ``context`` keys with them, in ``pages``."""

    first: int
    tokens: int
    context: int
    pages: tuple[int, ...]
    follow: bool  # each page is the one after the one before it


@dataclass(frozen=True)
class RowGroup:
    """Rows of one token each and about as many keys. ``slots`` are those of their keys, [rows * longest].

    A row with fewer keys than the longest repeats its first one behind its last; ``hidden`` says where.
    """

    rows: torch.Tensor  # [rows], each row's place in the batch
    slots: torch.Tensor
    hidden: torch.Tensor | None  # [rows, 1, 1, longest], true where a key is a repetition; None: nowhere

    @cached_property
    def _biases(self) -> dict[torch.dtype, torch.Tensor]:
        return {}

    def bias(self, dtype: torch.dtype) -> torch.Tensor | None:
        """What to add to the scores: 0, and minus infinity for a repetition. Made once for all layers."""
        if self.hidden is None:
            return None
        if dtype not in self._biases:
            bias = torch.zeros(self.hidden.shape, dtype=dtype, device=self.hidden.device)
            self._biases[dtype] = bias.masked_fill_(self.hidden, float("-inf"))
        return self._biases[dtype]


def group_rows(rows: Sequence[LayoutRow], page: int) -> tuple[tuple[RowGroup, ...], tuple[LayoutRow, ...]]:
    """(groups, the rows that go alone): prompts, long contexts, and those without a like. ``page``: tokens a page."""
    few = sorted(
        (row for row in rows if row.tokens == 1 and row.context <= _MOST_KEYS),
        key=lambda row: row.context,
        reverse=True,
    )
    alone = [row for row in rows if row.tokens > 1 or (row.tokens == 1 and row.context > _MOST_KEYS)]
    groups = []
    while few:
        longest = few[0].context
        count = 0
        while (
            count < len(few)
            and longest - few[count].context <= max(page, longest // 4)
            and (count + 1) * longest <= _MOST_COPIED
        ):
            count += 1
        taken, few = few[:count], few[count:]
        if count == 1:
            alone += taken
        else:
            groups.append(_group(taken, longest, page))
    return tuple(groups), tuple(alone)


def _group(rows: Sequence[LayoutRow], longest: int, page: int) -> RowGroup:
    order = sorted(rows, key=lambda row: row.first)
    contexts = torch.tensor([row.context for row in order])
    keys = torch.arange(longest).expand(len(order), longest)
    hidden = keys >= contexts[:, None]
    keys = keys.masked_fill(hidden, 0)
    most = max(len(row.pages) for row in order)
    pages = torch.tensor([row.pages + (0,) * (most - len(row.pages)) for row in order])
    slots = pages.gather(1, keys // page) * page + keys % page
    return RowGroup(
        rows=torch.tensor([row.first for row in order]),
        slots=slots.flatten(),
        hidden=hidden[:, None, None] if bool(hidden.any()) else None,
    )
