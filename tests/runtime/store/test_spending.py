from functools import partial
from typing import Any

import pytest

from antiphon.runtime.store.query import Reader
from antiphon.runtime.store.spending import covered_ns, run_spending, spending_of
from antiphon.runtime.store.sqlite import Store


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [([], 0), ([(2, 4)], 2), ([(2, 4), (3, 6)], 4), ([(0, 100)], 10), ([(12, 14), (-5, 1)], 1), ([(1, 2), (1, 9)], 8)],
)
def test_overlaps_are_covered_once(intervals: list[tuple[int, int]], expected: int) -> None:
    """The union inside [0, 10], whatever overlaps or sticks out."""
    assert covered_ns(intervals, 0, 10) == expected


def test_time_goes_to_who_spent_it(make: Any) -> None:
    """Own time is what no child covers; a model span without an agent counts for the handler above it."""
    spans = [
        make.process(1, took_s=10),
        make.chat(2, parent=1, at_s=1, took_s=4),
        make.chat(3, parent=1, at_s=3, took_s=4),
        make.step(4, parent=1, kind=3, name="publish x", at_s=8, took_s=1, attributes={"antiphon.operation": "call"}),
        make.process(5, agent="critic", at_s=8, took_s=0),
    ]
    handler, model = spending_of(spans)
    assert (handler.agent, handler.operation, handler.total_s, handler.own_s) == ("writer", "process", 10, 3)
    assert (model.agent, model.model, model.count, model.total_s, model.input_tokens) == (
        "writer",
        "smollm2-135m",
        2,
        8,
        200,
    )


def test_parents_in_a_circle_do_no_harm(make: Any) -> None:
    """Foreign spans that name each other as parent are summed like any other."""
    spans = [make.chat(1, parent=2), make.chat(2, parent=1)]
    assert spending_of(spans)[0].count == 2


def test_a_stored_run_is_summed_without_its_attributes(make: Any, put: Any, store: Store) -> None:
    """The same rows as of its spans as they were recorded, of as many as were asked for."""
    spans = [
        make.process(1, took_s=10, attributes={"antiphon.queue.enter_ns": 5, "antiphon.queue.dequeue_ns": 9}),
        make.chat(2, parent=1, at_s=1, took_s=4, status=2),
        make.step(3, parent=1, at_s=5, took_s=1, attributes={"gen_ai.operation.name": "execute_tool"}),
        make.process(4, agent="critic", at_s=8, took_s=0),
    ]
    put(*spans, make.process(5, trace=2, run="other"))
    reader = Reader.open(store.path)
    assert reader.ask(partial(run_spending, run="r1", most=10)) == (spending_of(spans), 4)
    assert reader.ask(partial(run_spending, run="r1", most=2)) == (spending_of(spans[:2]), 2)
    assert reader.ask(partial(run_spending, run="nope", most=2)) is None
    reader.close()
