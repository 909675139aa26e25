import math

from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.store.sketch import Sketch

VALUES = st.lists(st.integers(min_value=1, max_value=10**16), min_size=1, max_size=200)


def _sketch(values: list[int]) -> Sketch:
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return sketch


@given(VALUES, st.floats(min_value=0, max_value=1))
def test_a_quantile_is_within_two_percent(values: list[int], share: float) -> None:
    """Any quantile lies within 2 % of the value at that rank."""
    exact = sorted(values)[max(math.ceil(share * len(values)), 1) - 1]
    assert abs(_sketch(values).quantile(share) - exact) <= 0.0201 * exact + 1e-9


@given(VALUES, VALUES)
def test_merging_equals_counting_together(left: list[int], right: list[int]) -> None:
    """Two sketches merged, through bytes, are the sketch of all values."""
    merged = Sketch.from_bytes(_sketch(left).to_bytes())
    merged.merge(_sketch(right))
    assert merged.counts == _sketch(left + right).counts


def test_a_late_percentile_of_few_is_their_largest() -> None:
    """One slow run of two is not hidden by the fast one."""
    assert abs(_sketch([5, 64]).quantile(0.95) - 64) <= 0.0201 * 64


def test_nothing_counted_gives_zero() -> None:
    """An empty sketch has no quantile to speak of, and says 0."""
    assert Sketch().quantile(0.5) == 0
