"""What a foreign span says that a model was told and answered, as GenAI messages, which viewers show as a conversation.

For those who keep contents. The raw attributes stay beside it: a span cuts each of them, and they are what was sent.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.telemetry.conversation import Json, fitted, text_part
from antiphon.runtime.telemetry.foreign_messages import Message, prompt_of, reply_of
from antiphon.schemas.telemetry import SpanRecord

_SYSTEM: Final = "gen_ai.system_instructions"  # the first of the messages, if it came beside them
_NAME: Final = 256  # characters of a role, a tool's name or a call's id
_UNREADABLE: Final = (RecursionError, TypeError, ValueError)


def with_contents(mapped: SpanRecord, span: SpanRecord) -> dict[str, Any]:
    """The attributes of a mapped ``span``, its conversation, and then all that it had: a record keeps the first."""
    said = _conversation(span)
    known = mapped.attributes | said
    gone = {_SYSTEM} if attr.GENAI_INPUT_MESSAGES in said.keys() & span.attributes.keys() else set()
    return known | {key: value for key, value in span.attributes.items() if key not in known and key not in gone}


def _conversation(span: SpanRecord) -> dict[str, str]:
    try:
        said = {attr.GENAI_INPUT_MESSAGES: prompt_of(span), attr.GENAI_OUTPUT_MESSAGES: reply_of(span)}
        return {name: fitted(_messages(found)) for name, found in said.items() if found}
    except _UNREADABLE:  # a thousand levels, or keys that are no text: the raw attributes are all there is
        return {}


def _messages(found: Iterable[Message]) -> list[Json]:
    messages = ({"role": role[:_NAME], "parts": _parts(role, message)} for role, message in found)
    return [message for message in messages if message["parts"]]


def _parts(role: str, message: object) -> list[Json]:
    if not isinstance(message, dict):
        return [_part(message)]
    body = _nested(message)
    inner = _decoded(body.get("message"))
    if isinstance(inner, dict):  # a choice
        body = inner
    parts = _decoded(body.get("parts"))
    if isinstance(parts, list):
        return [_part(part) for part in parts]
    if "type" in body and "role" not in body:  # a part itself, as system instructions are
        return [_part(body)]
    if role == "tool":
        return [_response(body.get("tool_call_id", body.get("id")), body.get("name"), body.get("content"))]
    texts = [_part(part) for part in _contents(body)]
    return texts + [_call(call) for call in _items(body.get("tool_calls"))]


def _contents(body: Mapping[str, Any]) -> list[Any]:
    """Of a text, a list of typed parts, that as JSON, or OpenInference's numbered ones."""
    content = body.get("content")
    listed = _decoded(content) if isinstance(content, str) and content.startswith("[{") else content
    if isinstance(listed, list) and all(isinstance(part, dict) and "type" in part for part in listed):
        return listed
    found = [] if content in (None, "") else [content]
    return found + [
        part.get("message_content", part) if isinstance(part, dict) else part for part in _items(body.get("contents"))
    ]


def _part(part: object) -> Json:
    if not isinstance(part, dict):
        return text_part(_text(part))
    if part.get("type") == "tool_call":
        return _call(part)
    if part.get("type") == "tool_call_response":
        return _response(part.get("id"), part.get("name"), part.get("response", part.get("result")))
    return text_part(_text(part.get("content", part.get("text", part))))


def _call(call: object) -> Json:
    found: Json = call if isinstance(call, dict) else {"name": call}
    for name in ("tool_call", "function"):
        inner = found.get(name)
        found = {**found, **inner} if isinstance(inner, dict) else found
    return _named("tool_call", found.get("id"), found.get("name")) | {"arguments": found.get("arguments")}


def _response(id: object, name: object, response: object) -> Json:
    return _named("tool_call_response", id, name) | {"response": response}


def _named(kind: str, id: object, name: object) -> Json:
    return {"type": kind} | {
        key: _text(value)[:_NAME] for key, value in (("id", id), ("name", name)) if value is not None
    }


def _nested(flat: Mapping[str, Any]) -> Json:
    """``tool_calls.0.name`` as what it is: a name in a first call in calls. What has a value itself has no parts."""
    found: Json = {}
    for key, value in flat.items():
        *above, last = str(key).split(".")
        place = found
        for name in above:
            inner = place.setdefault(name, {})
            if not isinstance(inner, dict):
                break
            place = inner
        else:
            place.setdefault(last, value)
    return found


def _items(value: object) -> list[Any]:
    value = _decoded(value)
    if isinstance(value, dict):
        numbers = [key for key in value if str(key).isascii() and str(key).isdigit()]
        return [value[key] for key in sorted(numbers, key=int)]
    return value if isinstance(value, list) else []


def _decoded(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()
