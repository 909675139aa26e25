"""Which spans a span's content was made of, by what it says."""

from antiphon.runtime.telemetry.causes import causes_of
from antiphon.schemas.telemetry import SpanLink, SpanRecord

T = b"t" * 16


def test_causes_that_are_spans_are_links_once() -> None:
    """Ids of tasks and messages are no spans; nothing is linked twice; what is no list says nothing."""
    listed = ["61" * 8, "62" * 8, "61" * 8, "0" * 32, "zz" * 8, 7]
    span = SpanRecord(
        trace_id=T, span_id=b"s" * 8, name="chat m", start_ns=1, attributes={"antiphon.msg.causes": listed},
        links=[SpanLink(trace_id=T, span_id=b"b" * 8)],
    )  # fmt: skip
    assert [(link.trace_id, link.span_id, link.attributes) for link in causes_of(span)] == [
        (T, b"a" * 8, {"antiphon.link": "cause"})
    ]
    span.attributes["antiphon.msg.causes"] = "61" * 8
    assert causes_of(span) == []
