"""A span of ours as tools show it that know nothing of us: agents, names and fan-in by OpenTelemetry's conventions.

Our own records stay as they are, because detectors, roll-ups and replay read those.
"""

from dataclasses import replace
from typing import Final

from antiphon.runtime.telemetry import attributes as attr
from antiphon.schemas.telemetry import SpanLink, SpanRecord

_SPAN_ID_DIGITS: Final = 16  # causes with more are ids of messages and tasks


def outward(span: SpanRecord) -> SpanRecord:
    """``span`` for export.

    * A handler's work is ``invoke_agent {agent}`` [genai]: viewers know agents by it, and nobody knows ``process``.
    * A message is named after its subject, not after the form of all subjects: agents and handlers are few [messaging].
    * Earlier operations whose content was used are links, beside ``antiphon.msg.causes``: a tree has one parent only.
    """
    known = span.attributes
    name, attributes = span.name, known
    destination = known.get(attr.MESSAGING_DESTINATION)
    if span.kind == attr.CONSUMER and attr.HANDLER in known and attr.AGENT in known:
        name = attr.agent_name(str(known[attr.AGENT]))
        attributes = known | {attr.GENAI_OPERATION: attr.INVOKE_AGENT, attr.GENAI_AGENT_NAME: known[attr.AGENT]}
    elif "{" in name and isinstance(destination, str):
        name = f"{name.partition(' ')[0]} {destination}"
    causes = _causes(span)
    if name == span.name and not causes:
        return span
    return replace(span, name=name, attributes=attributes, links=[*span.links, *causes])


def _causes(span: SpanRecord) -> list[SpanLink]:
    """Links to causes that are spans, of this run and so of this trace."""
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
