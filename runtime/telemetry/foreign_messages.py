"""What a foreign span says that a model was told and answered: role and text of each message, in prompt order.

The three vocabularies of ``foreign``: GenAI messages as one JSON text or as events, and numbered attributes
(``gen_ai.prompt.0.content``, ``llm.input_messages.0.message.content``).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from antiphon.schemas.telemetry import SpanRecord

Said = tuple[str, str]
Message = tuple[str, object]  # role, and all that the span has of it, as it has it

MESSAGES: Final = 1024  # of a prompt; OpenTelemetry's own limit on attributes comes long before

_IDS: Final = frozenset({"id", "tool_call_id", "finish_reason"})  # no content, and another in every run
_ABOUT: Final = frozenset({"role", "type", "index", "event.name", "gen_ai.system", "gen_ai.provider.name"})
_EVENTS: Final = {"gen_ai.system.message": "system", "gen_ai.user.message": "user",
                  "gen_ai.assistant.message": "assistant", "gen_ai.tool.message": "tool"}  # fmt: skip
_DETAILS: Final = "gen_ai.client.inference.operation.details"


def messages_of(span: SpanRecord) -> list[Said]:
    """The prompt as texts; empty where the span does not have it, or has it cut."""
    return [(role, _plain(message)) for role, message in prompt_of(span)]


def said_by_model(span: SpanRecord) -> list[Said]:
    """The reply, likewise."""
    return [(role, _plain(message)) for role, message in reply_of(span)]


def prompt_of(span: SpanRecord) -> list[Message]:
    """The prompt as the span has it."""
    given = span.attributes
    for source in (given, *(event.attributes for event in span.events if event.name == _DETAILS)):
        if "gen_ai.input.messages" in source:
            before = _listed(source.get("gen_ai.system_instructions"), "system")
            after = _listed(source["gen_ai.input.messages"], "user")
            return [] if before is None or after is None else before + after
    found: list[Message] = [
        (_EVENTS[event.name], event.attributes)
        for event in span.events[:MESSAGES]
        if event.name in _EVENTS and len(event.attributes) > 1  # else content was left out
    ]
    return found or _numbered(given, "gen_ai.prompt.{}.") or _numbered(given, "llm.input_messages.{}.message.")


def reply_of(span: SpanRecord) -> list[Message]:
    """The reply as the span has it."""
    given = span.attributes
    for source in (given, *(event.attributes for event in span.events if event.name == _DETAILS)):
        if "gen_ai.output.messages" in source:
            return _listed(source["gen_ai.output.messages"], "assistant") or []
    chosen = [event.attributes for event in span.events if event.name == "gen_ai.choice"]
    found: list[Message] = [("assistant", choice) for choice in chosen if "message" in choice or "content" in choice]
    return found or _numbered(given, "gen_ai.completion.{}.") or _numbered(given, "llm.output_messages.{}.message.")


def _listed(value: object, role: str) -> list[Message] | None:
    """Messages or parts that are one JSON text; None where it cannot be read."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError:
            return None
    if value is None:
        return []
    if not isinstance(value, list):
        return None
    return [
        (item["role"] if isinstance(item, dict) and isinstance(item.get("role"), str) else role, item)
        for item in value[:MESSAGES]
    ]


def _numbered(given: Mapping[str, Any], prefix: str) -> list[Message]:
    """Messages that are attributes of their own: everything below a number is that message's."""
    by_number: dict[str, dict[str, Any]] = {}
    head, _, tail = prefix.partition("{}")
    for key, value in given.items():
        if key.startswith(head):
            number, _, field = key[len(head) :].partition(".")
            if f".{field}".startswith(tail) and number.isascii() and number.isdigit():
                by_number.setdefault(number, {})[f".{field}"[len(tail) :]] = value
    found: list[Message] = []
    for number in sorted(by_number, key=int)[:MESSAGES]:
        message = by_number[number]
        role = message.get("role")
        if len(message) > (role is not None):
            found.append((role if isinstance(role, str) else "user", dict(sorted(message.items()))))
    return found


def _plain(message: object) -> str:
    """A message without role and ids, the same text whichever way it was written down."""
    return "\n".join(_texts(message))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, child in value.items():
            if name not in _ABOUT and str(name).rpartition(".")[2] not in _IDS:
                yield from _texts(child)
    elif isinstance(value, list):
        for child in value:
            yield from _texts(child)
    elif value is not None:
        yield str(value)
