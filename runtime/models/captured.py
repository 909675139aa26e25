"""Prompts and replies as text for spans, in the form of the GenAI conventions, so that every viewer shows them.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/ (gen_ai.input.messages, gen_ai.output.messages): JSON
of messages with a role and typed parts. A span cuts long texts, and JSON that is cut is none: so long parts are
shortened here, and then the oldest messages left out, except the first, which often is the system's.
"""

import json
from collections.abc import Iterable
from typing import Any, Final

from antiphon.schemas.inference import FinishReason, GenerateRequest, Part, Reply, TextPart, ToolCall, Turn

MOST_BYTES: Final = 8 * 1024  # where spans cut
_NOTE_BYTES: Final = 80  # room for brackets and for saying how many messages are left out
_LENGTHS: Final = (2048, 512, 128)  # characters of a part, the first with which all of it fits

Json = dict[str, Any]


def prompt_text(request: GenerateRequest) -> str:
    """The conversation, or the raw prompt where it is text; token ids are no message."""
    if isinstance(request.prompt, str):
        return _fitted([{"role": "user", "parts": [_text(request.prompt)]}])
    return _fitted([_message(turn) for turn in request.conversation])


def reply_text(reply: Reply) -> str:
    """One message: text and calls of tools, and why it ended."""
    texts = [TextPart(text=reply.text)] if reply.text else []
    reason = reply.finish.reason
    ended = "tool_call" if reason is FinishReason.TOOL_CALLS else reason.value  # the conventions' word
    return _fitted([{"role": "assistant", "parts": _parts([*texts, *reply.tool_calls]), "finish_reason": ended}])


def _message(turn: Turn) -> Json:
    return {"role": turn.role, "parts": _parts(turn.parts)}


def _parts(parts: Iterable[Part]) -> list[Json]:
    return [_part(part) for part in parts]


def _part(part: Part) -> Json:
    if isinstance(part, TextPart):
        return _text(part.text)
    if isinstance(part, ToolCall):
        return {"type": "tool_call", "id": part.id, "name": part.name, "arguments": part.arguments}
    return {"type": "tool_call_response", "id": part.id, "name": part.name, "response": part.content}


def _text(text: str) -> Json:
    return {"type": "text", "content": text}


def _fitted(messages: list[Json]) -> str:
    text = _json(messages)
    for length in _LENGTHS:
        if _bytes(text) <= MOST_BYTES:
            return text
        messages = [
            {**message, "parts": [_short_part(part, length) for part in message["parts"]]} for message in messages
        ]
        text = _json(messages)
    return text if _bytes(text) <= MOST_BYTES else _json(_newest(messages))


def _newest(messages: list[Json]) -> list[Json]:
    """The first part, and as many of the last as there is room for, each as a message."""
    first, *rest = ({**message, "parts": [part]} for message in messages for part in message["parts"])
    room = MOST_BYTES - _NOTE_BYTES - _bytes(_json(first))
    kept: list[Json] = []
    for message in reversed(rest):
        room -= _bytes(_json(message)) + 1
        if room < 0:
            break
        kept.append(message)
    note = _text(f"({len(rest) - len(kept)} messages left out)")
    return [{**first, "parts": [*first["parts"], note]}, *reversed(kept)]


def _short_part(part: Json, length: int) -> Json:
    field = {"text": "content", "tool_call": "arguments"}.get(part["type"], "response")
    value = part[field]
    text = value if isinstance(value, str) else _json(value)
    if len(text) <= length:
        return part
    return {**part, field: f"{text[:length]}… ({len(text) - length} characters left out)"}


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
