"""Batches as bytes."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.errors import InvalidMessage
from antiphon.runtime.telemetry.attributes import CLIPPED, DROPPED_ATTRIBUTES, DROPPED_EVENTS, DROPPED_LINKS
from antiphon.runtime.telemetry.codec import BATCH_BYTES, SpanRow, decode, encode, encode_log, encode_span, packs
from antiphon.schemas.telemetry import LogRecord, SpanEvent, SpanLink, SpanRecord, TelemetryBatch

T, S = bytes(range(16)), bytes(range(1, 9))

scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=20)
attributes = st.dictionaries(st.text(max_size=8), scalars | st.lists(scalars, max_size=3), max_size=4)
times = st.integers(0, 2**63 - 1)
trace_ids, span_ids = st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8)
events = st.builds(SpanEvent, name=st.text(max_size=8), unix_ns=times, attributes=attributes)
links = st.builds(SpanLink, trace_id=trace_ids, span_id=span_ids, attributes=attributes)
rows = st.builds(
    SpanRow,
    trace_id=trace_ids,
    span_id=span_ids,
    parent_id=st.none() | span_ids,
    name=st.text(max_size=20),
    kind=st.integers(0, 4),
    start_ns=times,
    end_ns=times,
    status=st.integers(0, 2),
    status_message=st.text(max_size=20),
    attributes=attributes,
    events=st.none() | st.lists(events, min_size=1, max_size=2),
    links=st.none() | st.lists(links, min_size=1, max_size=2),
)
logs = st.builds(
    LogRecord,
    unix_ns=times,
    level=st.sampled_from(["info", "error"]),
    event=st.text(max_size=20),
    trace_id=st.none() | trace_ids,
    span_id=st.none() | span_ids,
    fields=st.dictionaries(st.text(max_size=8), scalars, max_size=3),
)


def row(**changes: object) -> SpanRow:
    found = SpanRow(T, S, "work", 1, {}, end_ns=2)
    for key, value in changes.items():
        setattr(found, key, value)
    return found


def decoded(found: SpanRow) -> SpanRecord:
    return msgspec.msgpack.decode(encode_span(found), type=SpanRecord)


@given(st.lists(rows, max_size=5), st.lists(logs, max_size=3))
def test_what_goes_in_comes_out(spans: list[SpanRow], records: list[LogRecord]) -> None:
    """Spans and logs are the same values after a journey as bytes."""
    for number, pack in enumerate(packs(map(encode_span, spans), map(encode_log, records)), start=1):
        batch = decode(pack.encode(node="n", sequence=number, dropped=3))
        assert batch == decode(encode(batch))
        assert (batch.node, batch.sequence, batch.dropped) == ("n", 1, 3)
        assert batch.spans == [found.record() for found in spans] and batch.logs == records


def test_batches_are_cut_below_256_kib() -> None:
    """Spans keep their order over as many batches as they need, and every batch is within the limit."""
    given = [row(name=str(i), attributes={"text": "x" * 4000}) for i in range(500)]
    record = encode_log(LogRecord(unix_ns=1, level="info", event="e", fields={"x": "y" * 4000}))
    found = list(packs(map(encode_span, given), [record] * 200))
    bodies = [pack.encode(node="n" * 64, sequence=2**60, dropped=2**60) for pack in found]
    assert max(map(len, bodies)) <= BATCH_BYTES
    assert min(map(len, bodies[:-1])) > BATCH_BYTES - 10_000
    assert [span.name for body in bodies for span in decode(body).spans] == [str(i) for i in range(500)]
    assert sum(len(decode(body).logs) for body in bodies) == 200


def test_nothing_makes_no_batch() -> None:
    """No records, no bytes."""
    assert list(packs([], [])) == []


def test_a_hostile_span_is_made_to_fit() -> None:
    """Values too long, too large or of no type are cut or written as text, and the marks say so."""
    found = decoded(row(attributes={"long": "x" * 100_000, "big": 2**70, "none": None, "odd": object, "bad": "\ud800"}))
    assert len(found.attributes["long"]) == 8192 and found.attributes["big"] == str(2**70)
    assert found.attributes["odd"].startswith("<class") and found.attributes["bad"] == "?"
    assert found.attributes[CLIPPED] == ["long"] and "none" not in found.attributes


def test_a_huge_span_fits_a_batch() -> None:
    """However much is hung on a span, it is one batch at most, and what is missing is counted."""
    huge = row(
        name="n" * 100_000,
        attributes={str(i): "x" * 9000 for i in range(300)},
        events=[SpanEvent(name="e", unix_ns=i, attributes={"a": "y" * 9000}) for i in range(300)],
        links=[SpanLink(trace_id=T, span_id=S) for _ in range(3000)],
    )
    assert len(encode_span(huge)) < BATCH_BYTES - 1024
    found = decoded(huge)
    assert found.attributes[DROPPED_ATTRIBUTES] > 170 and found.attributes[DROPPED_EVENTS] > 170
    assert found.attributes[DROPPED_LINKS] == 3000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"{}",
        msgspec.msgpack.encode({"node": "n"}),
        msgspec.msgpack.encode({"node": 1, "sequence": 1}),
        msgspec.msgpack.encode({"node": "n", "sequence": 1})[:-1],
        msgspec.msgpack.encode({"node": "n", "sequence": 1}) + b"\x00",
        b"\x91" * 5000,
        encode(
            TelemetryBatch(node="n", sequence=1, spans=[SpanRecord(trace_id=b"1", span_id=S, name="x", start_ns=1)])
        ),
        encode(
            TelemetryBatch(
                node="n", sequence=1, spans=[SpanRecord(trace_id=T, span_id=S, parent_id=b"1", name="x", start_ns=1)]
            )
        ),
    ],
)
def test_bytes_that_are_no_batch_are_refused(body: bytes) -> None:
    """A reader gets InvalidMessage for anything that is not a batch."""
    with pytest.raises(InvalidMessage, match="telemetry batch"):
        decode(body)


@given(st.binary(max_size=200))
def test_random_bytes_never_crash_a_reader(body: bytes) -> None:
    """Any bytes are a batch or InvalidMessage."""
    try:
        decode(body)
    except InvalidMessage:
        return
