"""Spans on record as a trace, those of programs that know nothing of us in our terms."""

from collections.abc import Iterable
from typing import Final

from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.telemetry.foreign import mapped
from antiphon.runtime.telemetry.foreign_trace import joined
from antiphon.runtime.telemetry.hashing import ContentHash
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.trace import Trace, build
from antiphon.schemas.telemetry import SpanRecord

_HASH: Final = ContentHash("")  # of foreign contents: compared with one another, and never written anywhere


def trace_of(spans: Iterable[SpanRecord]) -> Trace | None:
    """The trace that the spans are; None if none of them is the first. Of two records of a span the last counts."""
    known = {span.span_id: mapped(span, _HASH) for span in spans}
    return build(joined([(span, facts.text(span, attr.NODE)) for span in known.values()]))
