"""What a batch takes, by its size."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.agents.logging_agent.batch_cost import MIN_BATCHES, BatchCost


def test_a_line_is_found() -> None:
    """Batches of 2 and 4 took 120 and 140: one of 10 takes 200."""
    cost = BatchCost()
    for _ in range(MIN_BATCHES):
        cost.note(2, 120)
        cost.note(4, 140)
    assert cost.took_ns(10) == (200, 200)


def test_too_few_batches_or_one_size_say_nothing() -> None:
    """A line needs two sizes, and single calls are no batches."""
    cost = BatchCost()
    for _ in range(20):
        cost.note(1, 100)
    assert cost.took_ns(5) is None
    only = BatchCost()
    for _ in range(20):
        only.note(3, 100)
    assert only.took_ns(5) is None


@given(st.lists(st.tuples(st.integers(1, 64), st.integers(0, 10**12)), max_size=100), st.integers(2, 64))
def test_most_is_at_least_least(seen: list[tuple[int, int]], size: int) -> None:
    """And neither is negative, whatever was seen."""
    cost = BatchCost()
    for count, took_ns in seen:
        cost.note(count, took_ns)
    found = cost.took_ns(size)
    assert found is None or found[0] >= found[1] >= 0
