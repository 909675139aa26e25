from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.console.tree import Part, rows_of, segments_of
from antiphon.schemas.telemetry import SpanRecord

S = 1_000_000_000


def test_a_message_and_its_handler_are_one_row(make: Any) -> None:
    """Rows come depth first; each call stands with the handler that took it."""
    rows = rows_of(make.run())
    assert [(row.depth, row.label, row.work.value) for row in rows] == [
        (0, "submit planner.plan", "handler"),
        (1, "call writer.write", "handler"),
        (2, "chat m", "model"),
        (2, "execute_tool search", "tool"),
        (1, "call critic.review", "handler"),
    ]


def test_two_attempts_stand_below_their_message(make: Any) -> None:
    """A message that was handed out twice keeps a row of its own, with both handlers under it."""
    spans = [
        make.send(1, None, "writer.write", 0, 5),
        make.handle(2, 1, "writer.write", 1, 0),
        make.handle(3, 1, "writer.write", 3, 1),
    ]
    assert [(row.depth, row.label) for row in rows_of(spans)] == [
        (0, "call writer.write"),
        (1, "writer.write"),
        (1, "writer.write"),
    ]


def test_time_is_split_into_waiting_and_work(make: Any) -> None:
    """A handler's row has the caller's wait, the queue and the service; a model's has queue, prefill and decode."""
    rows = rows_of(make.run())

    def parts(index: int) -> list[tuple[Part, float, float]]:
        return [
            (item.part, (item.start_ns - make.start_ns) / S, (item.end_ns - make.start_ns) / S)
            for item in segments_of(rows[index], 0)
        ]

    assert parts(1) == [(Part.CALL, 1, 7), (Part.QUEUE, 1, 3), (Part.SERVICE, 3, 7)]
    assert parts(2)[1:] == [(Part.QUEUE, 4, 4.1), (Part.PREFILL, 4.1, 4.3), (Part.DECODE, 4.3, 4.8)]


def test_an_unfinished_row_reaches_to_the_end_of_the_run(make: Any) -> None:
    """What never ended is drawn up to the last thing seen."""
    (row,) = rows_of([make.handle(1, None, "writer.write", 1, 0)])
    assert not row.finished
    assert segments_of(row, make.start_ns + 9 * S)[-1].end_ns == make.start_ns + 9 * S


@given(st.lists(st.integers(min_value=0, max_value=12), max_size=12))
def test_every_span_has_exactly_one_place(parents: list[int]) -> None:
    """Missing parents, spans that are their own parent and circles: nothing is lost, nothing shown twice."""
    spans = [
        SpanRecord(
            trace_id=b"t" * 16,
            span_id=(n + 1).to_bytes(8),
            parent_id=parent.to_bytes(8),
            name="x",
            kind=3 + n % 2,
            start_ns=n,
            end_ns=n + 1,
        )
        for n, parent in enumerate(parents)
    ]
    rows = rows_of(spans)
    shown = [row.span.span_id for row in rows] + [row.caller.span_id for row in rows if row.caller is not None]
    assert sorted(shown) == [span.span_id for span in spans]


def test_depth_is_no_limit() -> None:
    """A chain of 5,000 spans is walked without recursion."""
    spans = [
        SpanRecord(trace_id=b"t" * 16, span_id=(n + 1).to_bytes(8), parent_id=n.to_bytes(8), name="x", start_ns=n)
        for n in range(5_000)
    ]
    assert rows_of(spans)[-1].depth == 4_999
