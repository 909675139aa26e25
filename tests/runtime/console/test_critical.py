"""The critical path is what the run's end waited for, whatever the record looks like."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.console.critical import critical
from antiphon.runtime.replay.critical import waited_for
from antiphon.schemas.telemetry import SpanRecord

CASES = Path(__file__).resolve().parents[3] / "runtime/console/client/test/critical.json"


def span(number: int, parent: int | None, start: int, end: int) -> SpanRecord:
    return SpanRecord(
        trace_id=bytes(16), span_id=number.to_bytes(8), parent_id=None if parent is None else parent.to_bytes(8),
        name=str(number), start_ns=start, end_ns=end,
    )  # fmt: skip


def path(*spans: SpanRecord) -> list[int]:
    return sorted(int.from_bytes(each) for each in critical(spans))


@pytest.mark.parametrize("case", json.loads(CASES.read_text()), ids=lambda case: case["what"])
def test_the_end_waited_for_it(case: dict[str, Any]) -> None:
    """The page, which walks over lines, is tested with the same."""
    assert path(*(span(*each) for each in case["spans"])) == case["path"]


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
