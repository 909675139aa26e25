"""Reading one span: its attributes by type, what kind of work it is and what a person calls it.

Spans come from other machines and other languages, so a value of the wrong type reads as absent.
"""

from typing import Final

from antiphon.runtime.telemetry import attributes as attr
from antiphon.schemas.subjects import SubjectError, parse
from antiphon.schemas.telemetry import SpanRecord

PRODUCER: Final = 3
CONSUMER: Final = 4
ERROR: Final = 2

PROCESS: Final = "process"
CALL: Final = "call"  # durable: its child handlers are attempts of one task
WAITED: Final = frozenset({"ask", CALL})  # the caller goes on when the reply is there
PEERS: Final = frozenset({"ask", CALL, "submit"})
MODEL: Final = "model"
TOOL: Final = "tool"

LARGEST: Final = 1e18  # nothing that is measured here is larger


def text(span: SpanRecord, key: str) -> str:
    """A text attribute, or empty."""
    value = span.attributes.get(key)
    return value if isinstance(value, str) else ""


def number(span: SpanRecord, key: str) -> float | None:
    """A number from 0 to LARGEST, or None: sums and products of such numbers stay finite."""
    value = span.attributes.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LARGEST:  # false for NaN too
        return None
    return value


def whole(span: SpanRecord, key: str) -> int | None:
    """An integer of at least zero, or None. Kept apart from ``number``: times in ns exceed a float's 53 bits."""
    value = span.attributes.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def texts(span: SpanRecord, key: str) -> tuple[str, ...] | None:
    """A list of texts, or None where none was recorded: an empty list is a statement, None is silence."""
    value = span.attributes.get(key)
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        return None
    return tuple(value)


def flag(span: SpanRecord, key: str) -> bool:
    """Whether the attribute is true."""
    return span.attributes.get(key) is True


def operation(span: SpanRecord) -> str:
    """``process``, or what ``antiphon.operation`` says; empty for spans of other libraries."""
    if span.kind == CONSUMER:
        return PROCESS
    value = span.attributes.get(attr.OPERATION)  # as ``text``, without its call: every span is asked, several times
    return value if isinstance(value, str) else ""


def label(span: SpanRecord) -> str:
    """What a person calls it: ``writer.write``, ``ask critic.review``, ``tool search``, ``model smollm2-135m``.

    Without ids or arguments, so that equal work in two runs has equal labels.
    """
    kind = operation(span)
    if kind == PROCESS:
        return f"{text(span, attr.AGENT) or '?'}.{text(span, attr.HANDLER) or '?'}"
    if kind == MODEL:
        return f"model {text(span, attr.GENAI_REQUEST_MODEL) or '?'}"
    if kind == TOOL:
        return f"tool {text(span, attr.GENAI_TOOL_NAME) or '?'}"
    if kind in PEERS or kind == "publish":
        return f"{kind} {_target(text(span, attr.MESSAGING_DESTINATION))}"
    return span.name


def _target(subject: str) -> str:
    try:
        return ".".join(parse(subject).rest)
    except SubjectError:
        return subject or "?"
