"""The critical path is what the run's end waited for, whatever the record looks like."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.console.critical import critical
from antiphon.runtime.replay.critical import waited_for
from antiphon.schemas.telemetry import SpanRecord


def span(number: int, parent: int | None, start: int, end: int) -> SpanRecord:
    return SpanRecord(
        trace_id=bytes(16), span_id=number.to_bytes(8), parent_id=None if parent is None else parent.to_bytes(8),
        name=str(number), start_ns=start, end_ns=end,
    )  # fmt: skip


def path(*spans: SpanRecord) -> list[int]:
    return sorted(int.from_bytes(each) for each in critical(spans))


def test_of_parallel_work_the_longest_is_on_it() -> None:
    """And what came before that; what ran beside it is not."""
    assert path(span(1, None, 0, 10), span(2, 1, 0, 4), span(3, 1, 4, 9), span(4, 1, 4, 6)) == [1, 2, 3]


def test_what_was_submitted_hands_on_to_its_work() -> None:
    """A message ends long before the handler that takes it."""
    assert path(span(1, None, 0, 1), span(2, 1, 2, 9), span(3, 2, 3, 8)) == [1, 2, 3]


def test_unfinished_work_reaches_to_the_end() -> None:
    """Nobody knows more of it."""
    assert path(span(1, None, 0, 0), span(2, 1, 1, 0), span(3, 1, 1, 5), span(4, 2, 6, 7)) == [1, 2, 4]


places = st.integers(0, 6)
spans = st.lists(st.builds(span, places, st.none() | places, st.integers(0, 9), st.integers(0, 9)), max_size=8)


@given(spans)
def test_any_record_has_a_path(record: list[SpanRecord]) -> None:
    """Circles, unknown parents, ends before starts: it ends, and names spans of the record only."""
    assert critical(record) <= {each.span_id for each in record}


@given(spans)
def test_what_is_on_it_fills_the_run(record: list[SpanRecord]) -> None:
    """No work is on it twice, and what each took alone adds up to the whole."""
    last_ns = max((span.end_ns for span in record), default=0)
    tree = {0: [(n, span.start_ns, span.end_ns) for n, span in enumerate(record, 1)]}
    found = list(waited_for(0, 0, last_ns, lambda n: tree.get(n, [])))
    assert sum(own_ns for _, own_ns in found) == last_ns
    assert len({n for n, _ in found}) == len(found)
