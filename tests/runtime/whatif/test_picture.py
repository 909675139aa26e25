"""A run before and after: which one is shown, and where its steps lie then."""

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.whatif.ensemble import assemble
from antiphon.runtime.whatif.picture import picture, typical
from antiphon.runtime.whatif.question import parse

if TYPE_CHECKING:
    from antiphon.runtime.whatif.testing import Traced


def test_steps_are_drawn_where_they_would_be(traced: "type[Traced]") -> None:
    """The tool takes half, what follows comes earlier, and what is no longer asked for has no after."""
    runs = []
    for number in (1, 2):
        trace = traced(number)
        root = trace.ask(None, "a.b", 0, 100 * number)
        trace.tool(root, "slow", 0, 40 * number)
        trace.tool(root, "idle", 40 * number, 60 * number)
        trace.tool(root, "last", 60 * number, 100 * number)
        runs.append(trace.spans)
    drawn = picture(parse(scale=["tool:slow=0.5"], remove=["tool:idle"]), assemble(runs), [], 1)
    assert [(step.label, step.depth) for step in drawn] == [
        ("ask a.b", 0), ("a.b", 1), ("tool slow", 2), ("tool idle", 2), ("tool last", 2),
    ]  # fmt: skip
    slow, idle, last = drawn[2:]
    assert slow.before_s == pytest.approx((0, 0.08))
    assert slow.after_s == pytest.approx((0, 0.04))
    assert idle.before_s == pytest.approx((0.08, 0.12))
    assert idle.after_s is None
    assert last.after_s == pytest.approx((0.04, 0.12))


def test_the_run_shown_saves_the_median_of_those_that_change() -> None:
    """Runs that stay as they are say nothing; where all do, it is the first."""
    assert typical((1, 1, 1, 1, 1), (1, 0.9, 0.5, 0.7, 1)) == 3
    assert typical((1, 1), (1, 1)) == 0


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)), min_size=1, max_size=20))
def test_a_run_that_changes_is_shown_if_there_is_one(times: list[tuple[float, float]]) -> None:
    """Longer or shorter."""
    before, after = zip(*times, strict=True)
    place = typical(before, after)
    assert abs(before[place] - after[place]) > 1e-4 or all(abs(a - b) <= 1e-4 for a, b in times)
