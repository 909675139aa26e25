"""What libraries and other programs record, as it is kept: in our terms, without contents unless these are captured."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from antiphon.runtime.telemetry.codec import SpanRow
from antiphon.runtime.telemetry.foreign import mapped
from antiphon.runtime.telemetry.foreign_conversation import with_contents
from antiphon.runtime.telemetry.foreign_trace import WORDS_IN, WORDS_OUT
from antiphon.runtime.telemetry.span import LightSpan, Recorder
from antiphon.runtime.telemetry.values import TEXT_BYTES
from antiphon.schemas.telemetry import SpanRecord

WORDS: Final = TEXT_BYTES // 9  # numbers that one attribute can hold


class ForeignSpans:
    """Rows of spans that somebody else wrote. ``content_hash`` is the deployment's."""

    def __init__(self, content_hash: Callable[[bytes], str], *, capture_content: bool) -> None:
        self._hash = content_hash
        self._capture = capture_content

    def row(self, span: SpanRecord) -> SpanRow:
        """The span as it is kept."""
        found = self._ours(span)
        return SpanRow(
            trace_id=found.trace_id,
            span_id=found.span_id,
            parent_id=found.parent_id,
            name=found.name,
            kind=found.kind,
            start_ns=found.start_ns,
            end_ns=found.end_ns,
            status=found.status,
            status_message=found.status_message,
            attributes={key: _flat(value) for key, value in found.attributes.items()},
            events=found.events or None,
            links=found.links or None,
        )

    def _ours(self, span: SpanRecord) -> SpanRecord:
        found = mapped(span, self._hash)
        if found is span:
            return span
        for key in (WORDS_IN, WORDS_OUT):
            if len(found.attributes.get(key) or ()) > WORDS:  # cut, it would hide what came from where
                del found.attributes[key]
        if self._capture:
            found.attributes = with_contents(found, span)
        return found


class ForeignRecorder:
    """A Recorder for the instrumentation of libraries in our own process, before ours."""

    def __init__(self, recorder: Recorder, foreign: ForeignSpans) -> None:
        self.unix_ns = recorder.unix_ns
        self.watch: Callable[[LightSpan], None] = recorder.watch
        self.unwatch: Callable[[LightSpan], None] = recorder.unwatch
        self._recorder = recorder
        self._foreign = foreign

    def add_span(self, row: SpanRow) -> None:
        """Take a span that has ended."""
        self._recorder.add_span(self._foreign.row(row.record()))


def _flat(value: Any) -> Any:
    """Maps, and lists with something in them, as JSON text: attributes of ours have no structure."""
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(each, dict | list) for each in value)):
        return msgspec.json.encode(value, enc_hook=str).decode()
    return value
