"""The example of the page: an agent with the tools of an official server, on standard streams."""

import re
from pathlib import Path

from antiphon.runtime.loader import load_system
from antiphon.runtime.models.scripted import ScriptedModel
from antiphon.runtime.testing import memory_system
from antiphon.schemas.inference import ToolCall, ToolResult

ROOT = Path(__file__).resolve().parents[4]
EXAMPLE = ROOT / "examples" / "mcp_tools.py"


def test_the_page_shows_the_example() -> None:
    """Word for word."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "mcp.md").read_text(encoding="utf-8"), re.S)
    assert blocks
    assert all(block in EXAMPLE.read_text(encoding="utf-8") for block in blocks)


async def test_the_example_answers_from_the_servers_notes() -> None:
    """The model sees the official server's schemas, and reads what its tool returned."""
    system = load_system(f"{EXAMPLE}:system")
    (handler,) = system.agents[0].handlers.values()
    model = ScriptedModel(
        [ToolCall(id="1", name="search_notes", arguments={"word": "sky"}), '{"text": "Rayleigh scattering."}']
    )
    async with memory_system(system, models={"smollm2-135m": model}) as client:
        found = await client.ask(handler, handler.input(text="Why is the sky blue?"))
    assert found == handler.output(text="Rayleigh scattering.")
    first, second = model.requests
    assert [tool.name for tool in first.tools] == ["search_notes", "add_note"]
    assert first.tools[0].description == "Notes that have the word in them."
    result = second.conversation[-1].parts[0]
    assert isinstance(result, ToolResult)
    assert "so the sky looks blue" in result.content
