"""What MCP tools return, as values."""

from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

from antiphon.runtime.gateways.mcp.content import text_of, value_of


def test_structured_content_is_the_value_whatever_text_there_is_too() -> None:
    """The text repeats it for old clients. An empty object is a value."""
    text = TextContent(text='{"total": 3}')
    assert value_of(CallToolResult(content=[text], structured_content={"total": 3})) == {"total": 3}
    assert value_of(CallToolResult(content=[text], structured_content={})) == {}


def test_text_parts_are_lines_of_one_text() -> None:
    """Resources that are text count as text."""
    resource = TextResourceContents(uri="file:///a", text="three")
    result = CallToolResult(
        content=[TextContent(text="one"), TextContent(text="two"), EmbeddedResource(resource=resource)]
    )
    assert value_of(result) == "one\ntwo\nthree"


def test_what_is_no_text_becomes_a_note() -> None:
    """A model cannot read base64, and a journal need not keep it."""
    blob = BlobResourceContents(uri="file:///b", blob="AAAA", mime_type="application/pdf")
    result = CallToolResult(
        content=[
            ImageContent(data="AAAAAA==", mime_type="image/png"),
            AudioContent(data="AAA=", mime_type="audio/wav"),
            ResourceLink(name="report", uri="file:///r"),
            EmbeddedResource(resource=blob),
        ]
    )
    assert text_of(result).splitlines() == [
        "[image, image/png, 4 bytes, not shown]",
        "[audio, audio/wav, 2 bytes, not shown]",
        "[resource report: file:///r]",
        "[resource file:///b, application/pdf, 3 bytes, not shown]",
    ]


def test_a_result_without_content_is_an_empty_text() -> None:
    """Some tools say nothing."""
    assert value_of(CallToolResult(content=[])) == ""
