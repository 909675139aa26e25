"""Decode steps captured once and replayed: an accelerator is given one thing to do instead of three hundred.

A step of single tokens has one shape for each number of rows. A graph is recorded for a bucket of these, when it has
been met a few times: to record them all takes longer than a model takes to load. What differs from step to step lies
in buffers that the graph reads: ids, positions, slots and page numbers, which go to the device in one copy. Rows that
fill a bucket up compute token 0 at position 0 and write nothing. The head and the sampler follow outside the graph,
for the rows that there are, while it still runs; so masks, penalties and seeds are none of its business.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch

from antiphon.kernels.paged_layout import PagedLayout
from antiphon.runtime.engine.engine_config import PAGE_TOKENS
from antiphon.runtime.engine.plan import Row

HITS: Final = 4  # the step of a bucket that records its graph
_EXACT: Final = 32  # up to here buckets are powers of two, then its multiples: rows are no longer nearly free
_FIELDS: Final = 3  # id, position, slot

Work = Callable[[], torch.Tensor]
Record = Callable[[Work], Work]
Forward = Callable[[torch.Tensor, torch.Tensor, PagedLayout], torch.Tensor]


def record_cuda_graphs() -> Record:
    """Turns work into the replay of a CUDA (or HIP) graph, which leaves its result where the last replay left it.

    All graphs share one pool of memory, since only one runs at a time. The work is done eagerly before it is recorded:
    what a library sets up at its first call must not be part of it.
    """
    pool = torch.cuda.graph_pool_handle()

    def record(work: Work) -> Work:
        aside: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch gives it no types
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            work()
        torch.cuda.current_stream().wait_stream(aside)
        graph: Any = torch.cuda.CUDAGraph()
        # Other threads may use the device meanwhile: an embedder does.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            result = work()

        def replay() -> torch.Tensor:
            graph.replay()
            return result

        return replay

    return record


class StepGraphs:
    """Graphs of the steps whose rows have one token each, by their number. Used by one thread.

    ``forward`` (ids [tokens], positions [tokens], layout) gives hidden states [tokens, width]; ``record`` makes of work
    something that repeats it. Rows have contexts of up to ``most_pages`` pages.
    """

    def __init__(
        self, forward: Forward, record: Record, *, most_rows: int, most_pages: int, device: torch.device
    ) -> None:
        self._forward = forward
        self._record = record
        self._most_rows = most_rows
        self._most_pages = most_pages
        self._hits: Counter[int] = Counter()
        self._works: dict[int, Work] = {}
        # Fields, then page numbers, row by row.
        size = _FIELDS * most_rows + most_rows * most_pages
        self._host = torch.zeros(size, dtype=torch.int32)
        self._device = torch.zeros(size, dtype=torch.int32, device=device)
        self._table = torch.zeros(most_rows, most_pages, dtype=torch.int32, device=device)
        self._starts = torch.arange(most_rows + 1, dtype=torch.int32, device=device)

    @property
    def buckets(self) -> list[int]:
        """Numbers of rows that have a graph of their own."""
        return sorted({self._bucket(rows) for rows in range(1, self._most_rows + 1)})

    @property
    def recorded(self) -> frozenset[int]:
        """The buckets whose graph there is."""
        return frozenset(self._works)

    def rehearse(self) -> None:
        """Compute a step of each bucket without recording it: nothing is left to compile when one is recorded."""
        self._device.zero_()
        self._device[self._field(2)] = -1
        for bucket in self.buckets:
            self._step(bucket)

    def run(self, rows: Sequence[Row]) -> torch.Tensor | None:
        """Hidden states [rows, width], good until the next call; None where there is no graph for such a step (yet)."""
        if len(rows) > self._most_rows or any(row.count != 1 for row in rows):
            return None
        bucket = self._bucket(len(rows))
        if bucket not in self._works:
            self._hits[bucket] += 1
            if self._hits[bucket] < HITS:
                return None
        self._load(rows, bucket)
        if bucket not in self._works:
            self._works[bucket] = self._record(lambda: self._step(bucket))
        return self._works[bucket]()[: len(rows)]

    def _bucket(self, rows: int) -> int:
        size = 1 << (rows - 1).bit_length() if rows <= _EXACT else -(-rows // _EXACT) * _EXACT
        return min(size, self._most_rows)

    def _field(self, index: int) -> slice:
        return slice(index * self._most_rows, (index + 1) * self._most_rows)

    def _load(self, rows: Sequence[Row], bucket: int) -> None:
        """What the step's rows are, to where the graph reads it."""
        width = max(row.start // PAGE_TOKENS for row in rows) + 1
        size = _FIELDS * self._most_rows + bucket * width
        flat = self._host[:size].numpy()
        fields = flat[: _FIELDS * self._most_rows].reshape(_FIELDS, -1)
        fields[:, :bucket] = [[0], [0], [-1]]
        table = flat[_FIELDS * self._most_rows :].reshape(bucket, width)
        table[len(rows) :, 0] = 0  # the page whose first key a filling row looks at
        for index, row in enumerate(rows):
            count = row.start // PAGE_TOKENS + 1
            pages = row.sequence.pages[:count]
            table[index, :count] = pages
            slot = pages[-1] * PAGE_TOKENS + row.start % PAGE_TOKENS
            fields[:, index] = row.sequence.tokens[row.start], row.start, slot
        self._device[:size].copy_(self._host[:size])
        self._table[:bucket, :width] = self._device[_FIELDS * self._most_rows : size].view(bucket, width)

    def _step(self, bucket: int) -> torch.Tensor:
        fields = self._device[: _FIELDS * self._most_rows].view(_FIELDS, -1)[:, :bucket]
        ids, positions, slots = fields.long()
        layout = PagedLayout(
            query_starts=self._starts[: bucket + 1],
            context_tokens=(positions + 1).int(),
            page_table=self._table[:bucket],
            slots=slots,
            most_queries=1,
            most_context=self._most_pages * PAGE_TOKENS,
        )
        return self._forward(ids, positions, layout)
