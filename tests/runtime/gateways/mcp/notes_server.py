"""An MCP server for tests, of the official package: what tools do to their callers, good and bad.

``FOLDER/calls`` has a line for every call that began.
"""

import asyncio
from pathlib import Path

from mcp.server import MCPServer
from mcp.server.mcpserver import Context, Image
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel


class Sum(BaseModel):
    total: int


def notes_server(folder: Path) -> MCPServer:
    """The server; everything it does is seen in ``folder``."""
    server = MCPServer("notes", version="1")

    def began(tool: str) -> None:
        with (folder / "calls").open("a") as calls:
            calls.write(f"{tool}\n")

    @server.tool()
    def add(a: int, b: int) -> Sum:
        """The sum of two whole numbers."""
        began("add")
        return Sum(total=a + b)

    @server.tool(structured_output=False)
    def search(query: str) -> str:
        """Notes that match."""
        began("search")
        return f"two notes on {query}"

    @server.tool()
    def refuse(why: str) -> str:
        """Fails."""
        began("refuse")
        raise ToolError(f"the shelf is locked: {why}")

    @server.tool(structured_output=False)
    def picture() -> Image:
        """Returns an image."""
        return Image(data=b"\x89PNG1234", format="png")

    @server.tool()
    async def hang() -> str:
        """Never ends, unless it is cancelled."""
        began("hang")
        try:
            await asyncio.sleep(3600)
        finally:
            began("hang-stopped")
        return "never"

    @server.tool()
    async def grow(ctx: Context) -> str:
        """Gives the server another tool, and says so."""
        began("grow")
        server.remove_tool("search")
        server.add_tool(search, description="Grown.", structured_output=False)
        await ctx.notify_tools_changed()
        return "grown"

    return server
