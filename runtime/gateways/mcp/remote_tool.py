"""One tool of an MCP server: known by name when agents are defined, described by its server later."""

from collections.abc import Mapping
from typing import Any

from antiphon.runtime.errors import ToolUnavailable
from antiphon.runtime.gateways.mcp.catalogue import ToolCard
from antiphon.runtime.tool import Tool
from antiphon.runtime.tool_schema import JsonSchema


class RemoteSchema:
    """A tool's schema, as far as it is known.

    No model is shown a tool without its schema: it could only guess.
    """

    __slots__ = ("_server", "_tool", "card")

    def __init__(self, server: str, tool: str) -> None:
        self._server = server
        self._tool = tool
        self.card: ToolCard | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """Raises ToolUnavailable while the server has never said it."""
        if self.card is None:
            raise ToolUnavailable(
                f"MCP server {self._server!r} has not answered yet, so nothing is known of its tool {self._tool!r}; "
                "start it, then try again",
                tool=self._tool,
                server=self._server,
            )
        return self.card.parameters

    def validated(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """See ToolSchema. What is not known is left to the server."""
        return dict(arguments) if self.card is None else JsonSchema(self._tool, self.parameters).validated(arguments)

    def check_result(self, body: bytes) -> None:
        """See ToolSchema: the session has checked it."""


class RemoteTool:
    """The two sides of one tool: ``name`` on the server, ``tool`` for agents."""

    __slots__ = ("_schema", "name", "tool")

    def __init__(self, server: str, name: str, tool: Tool[..., Any]) -> None:
        self.name = name
        self.tool = tool
        self._schema = tool.schema = RemoteSchema(server, name)

    @property
    def card(self) -> ToolCard | None:
        """What its server said of it, or None."""
        return self._schema.card

    def learn(self, card: ToolCard) -> None:
        """From now on it is described so."""
        self._schema.card = card
        self.tool.description = card.description
