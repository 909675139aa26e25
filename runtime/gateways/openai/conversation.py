"""A chat's messages as the turns of a conversation. Pure."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from antiphon.runtime.errors import InvalidRequest
from antiphon.schemas.inference import Part, Role, TextPart, ToolCall, ToolResult, Turn
from antiphon.schemas.openai import CalledTool, ChatMessage, NotText

_ROLES: Final = {"system": Role.SYSTEM, "developer": Role.SYSTEM, "user": Role.USER, "assistant": Role.ASSISTANT}


def turns(messages: Sequence[ChatMessage]) -> tuple[Turn, ...]:
    """The conversation.

    Raises:
        InvalidRequest: a part that is no text, a call whose arguments are no JSON object, or a result of no call.
    """
    names: dict[str, str] = {}  # of the tools, by the ids of their calls
    return tuple(_turn(message, f"messages[{number}]", names) for number, message in enumerate(messages))


def _turn(message: ChatMessage, where: str, names: dict[str, str]) -> Turn:
    try:
        text = message.plain()
    except NotText as error:
        raise InvalidRequest(f"{where}: found {error}, expected text only", param=f"{where}.content") from None
    if message.role == "tool":
        name = names.get(message.tool_call_id or "")
        if name is None:
            raise InvalidRequest(
                f"{where}: tool_call_id is {message.tool_call_id!r}, expected the id of a call in an earlier message",
                param=f"{where}.tool_call_id",
            )
        return Turn(role=Role.TOOL, parts=(ToolResult(id=message.tool_call_id or "", name=name, content=text),))
    parts: list[Part] = [TextPart(text=text)] if text or not message.tool_calls else []
    if message.role == "assistant":
        parts += _calls(message.tool_calls or (), f"{where}.tool_calls", names)
    return Turn(role=_ROLES[message.role], parts=tuple(parts))


def _calls(calls: Sequence[CalledTool], where: str, names: dict[str, str]) -> Iterator[ToolCall]:
    for number, call in enumerate(calls):
        name = call.function.name
        try:
            arguments: Any = json.loads(call.function.arguments or "{}")
        except (ValueError, RecursionError):
            arguments = None
        if not isinstance(arguments, dict):
            raise InvalidRequest(
                f"{where}[{number}]: the arguments of {name!r} are {call.function.arguments[:80]!r}, "
                "expected a JSON object",
                param=f"{where}[{number}].function.arguments",
            )
        names[call.id] = name
        yield ToolCall(id=call.id, name=name, arguments=arguments)
