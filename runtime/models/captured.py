"""Prompts and replies as text for spans, in the form of the GenAI conventions, so that every viewer shows them.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/ (gen_ai.input.messages, gen_ai.output.messages): JSON
of messages with a role and typed parts.
"""

from collections.abc import Iterable

from antiphon.runtime.telemetry.conversation import Json, fitted, text_part
from antiphon.schemas.inference import FinishReason, GenerateRequest, Part, Reply, TextPart, ToolCall, Turn


def prompt_text(request: GenerateRequest) -> str:
    """The conversation, or the raw prompt where it is text; token ids are no message."""
    if isinstance(request.prompt, str):
        return fitted([{"role": "user", "parts": [text_part(request.prompt)]}])
    return fitted([_message(turn) for turn in request.conversation])


def reply_text(reply: Reply) -> str:
    """One message: text and calls of tools, and why it ended."""
    texts = [TextPart(text=reply.text)] if reply.text else []
    reason = reply.finish.reason
    ended = "tool_call" if reason is FinishReason.TOOL_CALLS else reason.value  # the conventions' word
    return fitted([{"role": "assistant", "parts": _parts([*texts, *reply.tool_calls]), "finish_reason": ended}])


def _message(turn: Turn) -> Json:
    return {"role": turn.role, "parts": _parts(turn.parts)}


def _parts(parts: Iterable[Part]) -> list[Json]:
    return [_part(part) for part in parts]


def _part(part: Part) -> Json:
    if isinstance(part, TextPart):
        return text_part(part.text)
    if isinstance(part, ToolCall):
        return {"type": "tool_call", "id": part.id, "name": part.name, "arguments": part.arguments}
    return {"type": "tool_call_response", "id": part.id, "name": part.name, "response": part.content}
