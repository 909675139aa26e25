"""A span of ours as tools show it that know nothing of us: agents, names and fan-in by OpenTelemetry's conventions.

Our own records stay as they are, because detectors, roll-ups and replay read those.
"""

from dataclasses import replace

from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.telemetry.causes import causes_of
from antiphon.schemas.telemetry import SpanRecord


def outward(span: SpanRecord) -> SpanRecord:
    """``span`` for export.

    * A handler's work is ``invoke_agent {agent}`` [genai]: viewers know agents by it, and nobody knows ``process``.
    * A message is named after its subject, not after the form of all subjects: agents and handlers are few [messaging].
    * Earlier operations whose content was used are links, beside ``antiphon.msg.causes``.
    """
    known = span.attributes
    name, attributes = span.name, known
    destination = known.get(attr.MESSAGING_DESTINATION)
    if span.kind == attr.CONSUMER and attr.HANDLER in known and attr.AGENT in known:
        name = attr.agent_name(str(known[attr.AGENT]))
        attributes = known | {attr.GENAI_OPERATION: attr.INVOKE_AGENT, attr.GENAI_AGENT_NAME: known[attr.AGENT]}
    elif "{" in name and isinstance(destination, str):
        name = f"{name.partition(' ')[0]} {destination}"
    causes = causes_of(span)
    if name == span.name and not causes:
        return span
    return replace(span, name=name, attributes=attributes, links=[*span.links, *causes])
