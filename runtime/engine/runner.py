"""One step on the device: the plan's tokens into tensors, through the model, to sampled tokens."""

from collections.abc import Callable
from itertools import chain

import torch

from antiphon.kernels.paged_layout import PagedLayout
from antiphon.runtime.engine.architectures.llama import Llama
from antiphon.runtime.engine.config import ModelConfig
from antiphon.runtime.engine.device import Place
from antiphon.runtime.engine.engine_config import PAGE_TOKENS
from antiphon.runtime.engine.heap import trim_heap
from antiphon.runtime.engine.kv_pages import KvPages, pages_that_fit
from antiphon.runtime.engine.plan import Row, Sampled, StepPlan
from antiphon.runtime.engine.sampler import Sampler, SampleRow
from antiphon.runtime.engine.step_graphs import Record, StepGraphs, record_cuda_graphs
from antiphon.runtime.engine.weights import Weights

_LARGE = 256  # tokens of a step whose activations are given back


class Runner:
    """A model, the page pool's memory and the sampler. Used by one thread."""

    def __init__(
        self,
        config: ModelConfig,
        weights: Weights,
        place: Place,
        *,
        pages: int | None,
        max_rows: int,
        batch_invariant: bool = False,
        record: Record | None = None,
    ) -> None:
        """Load the model and reserve ``pages`` (None, on an accelerator: as many as fit beside the weights).

        ``record`` makes graphs of steps with up to ``max_rows`` rows; None: CUDA graphs on an accelerator, else none.

        Raises:
            ConfigurationError: no page fits.
            ModelFileError: a tensor is missing, unreadable or of another shape.
        """
        self.model = Llama(config, weights, place, batch_invariant=batch_invariant)
        count = pages_that_fit(config, place) if pages is None else pages
        self.pages = KvPages(config, count, place.dtype, place.device)
        self._sampler = Sampler(config.vocabulary, place.device)
        self._device = place.device
        if record is None and place.device.type == "cuda":
            record = record_cuda_graphs()
        self.graphs: StepGraphs | None = None
        if record is not None:
            self.graphs = StepGraphs(
                lambda ids, positions, layout: self.model.forward(ids, positions, layout, self.pages),
                record,
                most_rows=max_rows,
                most_pages=min(count, -(-config.context_tokens // PAGE_TOKENS)),
                device=place.device,
            )

    def run(self, plan: StepPlan, sample_row: Callable[[Row], SampleRow]) -> list[Sampled | Exception]:
        """Compute the plan's tokens. One answer for each row that samples, in the plan's order.

        ``sample_row`` says how a row samples; it is asked once for each of them.
        """
        outcomes = self._computed(plan, sample_row)
        if self._device.type == "cpu" and plan.new_tokens >= _LARGE:
            trim_heap()
        return outcomes

    @torch.inference_mode()
    def _computed(self, plan: StepPlan, sample_row: Callable[[Row], SampleRow]) -> list[Sampled | Exception]:
        self.pages.copy(plan.copies)
        hidden = self.graphs.run(plan.rows) if self.graphs else None
        if hidden is None:
            ids = self._longs([token for row in plan.rows for token in row.ids])
            hidden = self.model.forward(ids, *self._places(plan), self.pages)
        last: list[int] = []  # positions in the batch whose scores are needed
        rows: list[SampleRow] = []
        end = 0
        for row in plan.rows:
            end += row.count
            if row.samples:
                last.extend(range(end - 1 - len(row.drafts), end))
                rows.append(sample_row(row))
        if not rows:
            return []
        if len(last) < hidden.shape[0]:
            hidden = hidden[self._longs(last)]
        return self._sampler.sample(self.model.logits(hidden), rows)

    def _places(self, plan: StepPlan) -> tuple[torch.Tensor, PagedLayout]:
        """Each token's position in its sequence, and where the rows lie."""
        rows = plan.rows
        starts = [0]
        for row in rows:
            starts.append(starts[-1] + row.count)
        contexts = [row.start + row.count for row in rows]
        tables = [row.sequence.pages[: -(-context // PAGE_TOKENS)] for row, context in zip(rows, contexts, strict=True)]
        most = max(map(len, tables))
        slots = [
            pages[position // PAGE_TOKENS] * PAGE_TOKENS + position % PAGE_TOKENS
            for row, pages in zip(rows, tables, strict=True)
            for position in range(row.start, row.start + row.count)
        ]
        positions = chain.from_iterable(range(row.start, row.start + row.count) for row in rows)
        return self._longs(list(positions)), PagedLayout(
            query_starts=self._ints(starts),
            context_tokens=self._ints(contexts),
            page_table=self._ints([pages + [0] * (most - len(pages)) for pages in tables]),
            slots=self._longs(slots),
            most_queries=max(row.count for row in rows),
            most_context=max(contexts),
        )

    def _longs(self, values: list[int]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self._device)

    def _ints(self, values: list[int] | list[list[int]]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int32, device=self._device)
