"""What an MCP tool returned, as a value that the journal can keep and a model can read. Pure."""

from typing import Any

from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)


def value_of(result: CallToolResult) -> Any:
    """Structured content where there is some, else the text of all parts."""
    return text_of(result) if result.structured_content is None else result.structured_content


def text_of(result: CallToolResult) -> str:
    """The text of all parts, a line between them; a note stands for what is not text, such as an image."""
    return "\n".join(_text(part) for part in result.content)


def _text(part: ContentBlock) -> str:
    match part:
        case TextContent():
            return part.text
        case ImageContent() | AudioContent():
            return f"[{part.type}, {part.mime_type}, {_bytes(part.data)} bytes, not shown]"
        case ResourceLink():
            return f"[resource {part.name}: {part.uri}]"
        case EmbeddedResource():
            return _resource(part.resource)


def _resource(resource: TextResourceContents | BlobResourceContents) -> str:
    if isinstance(resource, TextResourceContents):
        return resource.text
    kind = resource.mime_type or "unknown type"
    return f"[resource {resource.uri}, {kind}, {_bytes(resource.blob)} bytes, not shown]"


def _bytes(base64: str) -> int:
    return len(base64.rstrip("=")) * 3 // 4
