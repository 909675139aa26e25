"""Tools of any MCP server as tools of agents."""

import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from antiphon.runtime.durations import seconds
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.gateways.mcp.opening import Opening
from antiphon.runtime.gateways.mcp.remote_tool import RemoteTool
from antiphon.runtime.gateways.mcp.ways import Http, Stdio, Way
from antiphon.runtime.tool import Tool
from antiphon.schemas.identity import InvalidName, check_name
from antiphon.schemas.task import Effect

if TYPE_CHECKING:
    from antiphon.runtime.host import Host

TIMEOUT: Final = "60s"  # of a call, unless its tool says otherwise


class McpServer:
    """A server that speaks the Model Context Protocol, reached by ``McpServer.stdio`` or ``McpServer.http``.

    Its tools are named when agents are defined; ``Agent(tools=[*server.tools("search", effect="read")])``. A node asks
    the server what they are, or knows it from last time, and keeps one session, begun with the first call. A process
    with several nodes shares it.
    """

    def __init__(self, name: str, way: Way) -> None:
        try:
            self.name = check_name("MCP server", name)
        except InvalidName as error:
            raise ConfigurationError(str(error)) from None
        self._way = way
        self._tools: list[RemoteTool] = []
        self._users = 0
        self._open: Opening | None = None

    @classmethod
    def stdio(
        cls,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | str | None = None,
    ) -> "McpServer":
        """A program that each node starts for itself: ``McpServer.stdio("files", ["python", "server.py"])``.

        It sees PATH, HOME and a few more of the node's environment, and what ``env`` adds.

        Raises:
            ConfigurationError: a name that cannot be, or no command.
        """
        return cls(name, Stdio(command=tuple(command), env=env or {}, cwd=None if cwd is None else Path(cwd)))

    @classmethod
    def http(cls, name: str, url: str, *, headers: Mapping[str, str] | None = None) -> "McpServer":
        """A streamable HTTP endpoint, such as ``https://mcp.example.com/mcp``; ``headers`` are sent, never stored.

        Raises:
            ConfigurationError: a name or URL that cannot be.
        """
        return cls(name, Http(url=url, headers=headers or {}))

    def tool(
        self,
        name: str,
        *,
        effect: str = Effect.WRITE,
        ttl: str | float | None = None,
        timeout: str | float = TIMEOUT,
        approve: bool | str = False,
        rename: str | None = None,
    ) -> Tool[..., Any]:
        """One tool of the server, by its name there.

        What it does to the world is for you to say, as with ``@tool``, because a server may say anything: ``write``
        unless declared. ``rename``: what agents and models call it.

        Raises:
            ConfigurationError: an effect, a time or a name that cannot be.
        """

        async def call(arguments: dict[str, Any]) -> Any:
            return await self._call(name, arguments, writes=found.effect is Effect.WRITE)

        found = Tool.from_schema(
            rename or name,
            "",
            {},
            call,
            effect=effect,
            ttl_s=None if ttl is None else seconds("ttl", ttl),
            timeout_s=seconds("timeout", timeout),
            approve=approve,
        )
        found.backend = self
        self._tools.append(RemoteTool(self.name, name, found))
        return found

    def tools(
        self,
        *names: str,
        effect: str = Effect.WRITE,
        ttl: str | float | None = None,
        timeout: str | float = TIMEOUT,
        approve: bool | str = False,
    ) -> list[Tool[..., Any]]:
        """Several tools that have all of this in common; see ``tool``."""
        return [self.tool(name, effect=effect, ttl=ttl, timeout=timeout, approve=approve) for name in names]

    @contextlib.asynccontextmanager
    async def opened(self, host: "Host | None" = None) -> AsyncGenerator[None, None]:
        """The tools can be run until this is left. Nodes do it; scripts and unit tests may.

        A server that is not there stops nobody: what is known of its tools from last time is used, a call of them is
        ToolUnavailable, and it is asked again in the background.

        Raises:
            MissingExtra: the ``mcp`` package is not installed.
            ConfigurationError: the server is there and has no tool of a name that agents were given.
        """
        self._users += 1
        try:
            if self._open is None:
                self._open = Opening(self.name, self._way, self._tools)
            await self._open.begin(host)
            yield
        finally:
            self._users -= 1
            if self._users == 0 and self._open is not None:
                closing, self._open = self._open, None
                await closing.close()

    async def _call(self, tool: str, arguments: dict[str, Any], *, writes: bool) -> Any:
        if self._open is None:
            raise ConfigurationError(
                f"MCP server {self.name!r} is not open: a node that runs its agents opens it; elsewhere, use "
                "`async with server.opened()`"
            )
        return await self._open.call(tool, arguments, writes=writes)
