"""A conversation as a guard sees it: the content of each part, in order. Pure."""

from collections.abc import Sequence
from typing import Any

from antiphon.runtime.errors import ConfigurationError
from antiphon.schemas.inference import Part, TextPart, ToolCall, ToolResult, Turn


def contents(conversation: Sequence[Turn]) -> list[Any]:
    """Texts of turns and tool results, and the arguments of tool calls."""
    return [_content(part) for turn in conversation for part in turn.parts]


def with_contents(conversation: Sequence[Turn], found: list[Any]) -> tuple[Turn, ...]:
    """The same turns with other contents. Raises ConfigurationError if a text is none any more."""
    given = iter(found)
    return tuple(
        turn.model_copy(update={"parts": tuple(_part(part, next(given)) for part in turn.parts)})
        for turn in conversation
    )


def text_of(value: Any) -> str:
    """What a guard made of a text.

    Raises:
        ConfigurationError: no text.
    """
    if not isinstance(value, str):
        raise ConfigurationError(
            f"a guard made a {type(value).__name__} of a text: check() must return a text, or raise Refused"
        )
    return value


def list_of(value: Any, length: int) -> list[Any]:
    """What a guard made of a list.

    Raises:
        ConfigurationError: no list, or one of another length.
    """
    if not isinstance(value, list) or len(value) != length:
        found = f"a list of {len(value)}" if isinstance(value, list) else f"a {type(value).__name__}"
        raise ConfigurationError(f"a guard of model.input was given a list of {length} and returned {found}")
    return value


def _content(part: Part) -> Any:
    match part:
        case TextPart():
            return part.text
        case ToolCall():
            return part.arguments
        case ToolResult():
            return part.content


def _part(part: Part, content: Any) -> Part:
    match part:
        case TextPart():
            return TextPart(text=text_of(content))
        case ToolCall():
            return part.model_copy(update={"arguments": content})
        case ToolResult():
            return part.model_copy(update={"content": text_of(content)})
