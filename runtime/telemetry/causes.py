"""What a span says that its content was made of, as links to those spans: a tree has one parent only."""

from typing import Final

from antiphon.runtime.telemetry import attributes as attr
from antiphon.schemas.telemetry import SpanLink, SpanRecord

_SPAN_ID_DIGITS: Final = 16  # causes with more are ids of messages and tasks


def causes_of(span: SpanRecord) -> list[SpanLink]:
    """Links to causes that are spans, of this run and so of this trace; without those that ``span`` links to anyway."""
    listed = span.attributes.get(attr.CAUSES)
    if not isinstance(listed, list):
        return []
    linked = {link.span_id for link in span.links}
    found = []
    for text in listed:
        span_id = _span_id(text)
        if span_id is not None and span_id not in linked:
            linked.add(span_id)
            found.append(SpanLink(trace_id=span.trace_id, span_id=span_id, attributes={attr.LINK: attr.CAUSE}))
    return found


def _span_id(text: object) -> bytes | None:
    if not isinstance(text, str) or len(text) != _SPAN_ID_DIGITS:
        return None
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None
