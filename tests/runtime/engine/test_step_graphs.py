"""Graphs of decode steps, with a recorder that repeats work as a CUDA graph does: from the same buffers into the same.

What torch records on an accelerator is tested under the gpu mark, in test_engine_gpu.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from antiphon.kernels.paged_layout import PagedLayout
from antiphon.runtime.engine.engine import Engine
from antiphon.runtime.engine.engine_config import PAGE_TOKENS, EngineConfig
from antiphon.runtime.engine.plan import Row, Sequence
from antiphon.runtime.engine.request import Request
from antiphon.runtime.engine.step_graphs import HITS, StepGraphs, Work
from antiphon.runtime.engine.testing import replies
from antiphon.schemas.inference import Sampling

CPU = torch.device("cpu")


def record(work: Work) -> Work:
    """Once to record, and at each replay from what the buffers hold by then."""
    result = work().clone()
    return lambda: result.copy_(work())


def seen(ids: torch.Tensor, positions: torch.Tensor, layout: PagedLayout) -> torch.Tensor:
    """In place of a model: what each row was given, [rows, 6]."""
    assert layout.query_starts.tolist() == list(range(len(ids) + 1))
    last = layout.page_table.gather(1, ((layout.context_tokens.long() - 1) // PAGE_TOKENS)[:, None])[:, 0]
    fields = (ids, positions, layout.slots, layout.context_tokens, layout.page_table[:, 0], last)
    return torch.stack([field.long() for field in fields], dim=1)


def graphs_of(most_rows: int, most_pages: int = 8) -> StepGraphs:
    """Graphs that say what they were given."""
    return StepGraphs(seen, record, most_rows=most_rows, most_pages=most_pages, device=CPU)


def decode(start: int, pages: list[int], token: int = 7) -> Row:
    """A row that computes the last of ``start + 1`` tokens."""
    request = Request(id="r", prompt=(1,))
    sequence = Sequence(request=request, tokens=[1] * start + [token], computed=start, pages=pages)
    return Row(sequence=sequence, start=start, count=1, samples=True)


def test_buckets_are_powers_of_two_then_multiples() -> None:
    """Up to the most rows there can be, which is one."""
    assert graphs_of(100).buckets == [1, 2, 4, 8, 16, 32, 64, 96, 100]
    assert graphs_of(5).buckets == [1, 2, 4, 5]


def test_a_graph_is_recorded_when_its_bucket_was_met_a_few_times() -> None:
    """Before that the step is somebody else's to compute."""
    graphs = graphs_of(16)
    rows = [decode(3, [2])] * 3
    assert [graphs.run(rows) is None for _ in range(HITS)] == [True] * (HITS - 1) + [False]
    assert graphs.recorded == {4}
    assert graphs.run(rows[:2]) is None


def test_each_row_is_computed_with_its_own_numbers() -> None:
    """Token, position, slot, context and pages, in a second step other ones than were recorded."""
    graphs = graphs_of(8)
    for _ in range(HITS):
        graphs.run([decode(70, [9, 5])] * 3)
    rows = [decode(64, [3, 6, 8], token=11), decode(5, [4], token=12), decode(200, [1, 2, 7, 0], token=13)]
    found = graphs.run(rows)
    assert found is not None
    assert found.tolist() == [
        [11, 64, 6 * PAGE_TOKENS, 65, 3, 6],
        [12, 5, 4 * PAGE_TOKENS + 5, 6, 4, 4],
        [13, 200, 0 * PAGE_TOKENS + 8, 201, 1, 0],
    ]


def test_rows_that_fill_a_bucket_write_nothing() -> None:
    """After a fuller step too: they have no slot, and look at one key of page 0."""
    computed: list[list[list[int]]] = []

    def forward(ids: torch.Tensor, positions: torch.Tensor, layout: PagedLayout) -> torch.Tensor:
        found = seen(ids, positions, layout)
        computed.append(found.tolist())
        return found

    graphs = StepGraphs(forward, record, most_rows=4, most_pages=8, device=CPU)
    for count in (4, 4, 4, 4, 3):
        graphs.run([decode(70, [9, 5])] * count)
    assert computed[-1] == [[7, 70, 5 * PAGE_TOKENS + 6, 71, 9, 5]] * 3 + [[0, 0, -1, 1, 0, 0]]


def test_other_steps_are_not_for_graphs() -> None:
    """Chunks, drafts, and more rows than were provided for."""
    graphs = graphs_of(2)
    chunk = Row(sequence=decode(5, [0]).sequence, start=0, count=2, samples=False)
    draft = Row(sequence=decode(5, [0]).sequence, start=5, count=2, drafts=(3,), samples=True)
    for rows in ([chunk], [decode(5, [0]), draft], [decode(5, [0])] * 3):
        assert all(graphs.run(rows) is None for _ in range(2 * HITS))


def test_a_rehearsal_computes_every_bucket_and_records_none() -> None:
    """On rows without slots, so that nothing is written."""
    met: list[int] = []

    def forward(ids: torch.Tensor, positions: torch.Tensor, layout: PagedLayout) -> torch.Tensor:
        assert set(layout.slots.tolist()) == {-1}
        assert layout.most_context == 8 * PAGE_TOKENS
        met.append(len(ids))
        return ids

    graphs = StepGraphs(forward, record, most_rows=40, most_pages=8, device=CPU)
    graphs.rehearse()
    assert met == graphs.buckets
    assert not graphs.recorded


SCHEMA = {"type": "object", "properties": {"a": {"enum": ["x", "yy"]}}, "required": ["a"]}
ASKED = (
    Request(id="greedy", prompt=tuple(range(5, 75)), sampling=Sampling(max_tokens=24)),
    Request(id="drawn", prompt=(9, 8, 7), sampling=Sampling(max_tokens=24, temperature=0.9, top_p=0.9, seed=3)),
    Request(id="schema", prompt=(20, 21), sampling=Sampling(max_tokens=24), json_schema=SCHEMA),
    Request(id="penalty", prompt=(30, 31, 32), sampling=Sampling(max_tokens=24, frequency_penalty=1.5)),
    Request(id="scored", prompt=(40,), sampling=Sampling(max_tokens=24, logprobs=2)),
)


@contextmanager
def engine_of(path: Path, *, invariant: bool, graphs: bool) -> Iterator[Engine]:
    """An engine in float32, whose decode steps are recorded or not."""
    engine = Engine.load(path, EngineConfig(dtype="float32", batch_invariant=invariant, speculate=False, max_rows=8))
    runner = engine.runner
    if graphs:
        runner.graphs = StepGraphs(
            lambda ids, positions, layout: runner.model.forward(ids, positions, layout, runner.pages),
            record,
            most_rows=8,
            most_pages=runner.pages.count,
            device=CPU,
        )
    try:
        yield engine
    finally:
        engine.close()


@pytest.mark.parametrize("invariant", [False, True])
def test_replies_are_those_of_an_engine_without_graphs(tiny_path: Path, invariant: bool) -> None:
    """Greedy, drawn, masked, penalised and scored together, as their number falls from one bucket to the next."""
    with engine_of(tiny_path, invariant=invariant, graphs=False) as plain:
        expected = replies(plain, ASKED)
    with engine_of(tiny_path, invariant=invariant, graphs=True) as engine:
        assert replies(engine, ASKED) == expected
        assert engine.runner.graphs is not None
        assert engine.runner.graphs.recorded
