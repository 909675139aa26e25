"""A server while nodes of this process use it: its one connection, and what is known of its tools."""

import asyncio
import importlib
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import structlog

from antiphon.runtime.clock import SystemClock
from antiphon.runtime.errors import BusError, ConfigurationError, MissingExtra, ToolUnavailable
from antiphon.runtime.gateways.mcp.catalogue import Catalogue, ToolCard
from antiphon.runtime.gateways.mcp.remote_tool import RemoteTool
from antiphon.runtime.gateways.mcp.ways import Way
from antiphon.schemas.identity import new_id

if TYPE_CHECKING:
    from mcp_types import Tool as Listed

    from antiphon.runtime.gateways.mcp.connection import Connection
    from antiphon.runtime.host import Host

FIRST_S: Final = 15.0  # whoever opens a server of which nothing is known waits this long
AGAIN_S: Final = 10.0  # and then it is asked again in the background

log = structlog.get_logger()


class Opening:
    """Begun by every node that needs the server, closed after the last one."""

    def __init__(self, name: str, way: Way, tools: Sequence[RemoteTool]) -> None:
        self._name = name
        self._way = way
        self._tools = tools
        self._lock = asyncio.Lock()
        self._connection: Connection | None = None
        self._catalogue: Catalogue | None = None
        self._asked = asyncio.Event()  # the server has answered, or could not
        self._missing = ""  # what the server turned out not to have, for a message
        self._learning: asyncio.Task[None] | None = None

    async def begin(self, host: "Host | None") -> None:
        """Know the tools: from the bus, else from the server, else later.

        Raises:
            MissingExtra: the ``mcp`` package is not installed.
            ConfigurationError: the server has answered and does not have all of the tools.
        """
        async with self._lock:
            if self._connection is None:
                self._connection = await self._connected(host)
            if self._catalogue is None and host is not None:
                await self._recall(host)
            if self._unknown() and (self._learning is None or self._learning.done()):
                self._asked.clear()
                self._learning = asyncio.create_task(self._learn(self._connection), name=f"mcp {self._name} tools")
        if self._learning is None:
            return
        try:
            async with asyncio.timeout(FIRST_S):
                await self._asked.wait()
        except TimeoutError:
            log.warning("mcp_server_unavailable", server=self._name, error=f"no answer in {FIRST_S:g} s")
        if self._missing:
            raise ConfigurationError(f"MCP server {self._name!r} has no tool {self._missing}")

    async def call(self, tool: str, arguments: dict[str, Any], *, writes: bool) -> Any:
        """Run a tool. Raises as ``Connection.call``."""
        assert self._connection is not None  # the server object begins before it lets calls through
        return await self._connection.call(tool, arguments, writes=writes)

    async def close(self) -> None:
        """End the session."""
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.wait((self._learning,))
        if self._connection is not None:
            await self._connection.close()

    async def _connected(self, host: "Host | None") -> "Connection":
        try:
            # A second of imports: not on the loop, which may carry other nodes' heartbeats.
            module = await asyncio.to_thread(importlib.import_module, "antiphon.runtime.gateways.mcp.connection")
        except ModuleNotFoundError as error:
            raise MissingExtra(
                f"MCP server {self._name!r} needs the package {error.name!r}: pip install 'antiphon[mcp]'"
            ) from None
        clock = SystemClock() if host is None else host.clock
        connection: Connection = module.Connection(self._name, self._way, self._learned, clock, random.Random(new_id()))
        return connection

    async def _recall(self, host: "Host") -> None:
        try:
            self._catalogue = await Catalogue.open(host.bus, host.tenant, self._way.identity)
            for each in self._tools:
                card = await self._catalogue.read(each.name)
                if card is not None and each.card is None:
                    each.learn(card)
        except BusError as error:
            log.warning("mcp_tools_not_recalled", server=self._name, error=error.message)

    def _unknown(self) -> bool:
        return any(each.card is None for each in self._tools)

    async def _learn(self, connection: "Connection") -> None:
        """Ask the server until it has answered."""
        while True:
            try:
                await connection.ready()
                return
            except ToolUnavailable as error:
                log.warning("mcp_server_unavailable", server=self._name, error=error.message)
            finally:
                self._asked.set()
            await asyncio.sleep(AGAIN_S)

    async def _learned(self, listed: "list[Listed]") -> None:
        """What the server says of its tools, now."""
        found = {each.name: each for each in listed}
        missing = sorted({each.name for each in self._tools} - found.keys())
        self._missing = f"{', '.join(map(repr, missing))}; it has: {', '.join(sorted(found))}" if missing else ""
        if missing:
            log.error("mcp_tools_missing", server=self._name, missing=missing, has=sorted(found))
        for each in self._tools:
            tool = found.get(each.name)
            if tool is None:
                continue
            card = ToolCard(description=tool.description or "", parameters=tool.input_schema)
            if card == each.card:
                continue
            if each.card is not None:
                log.warning("mcp_tool_changed", server=self._name, tool=each.name)
            each.learn(card)
            await self._keep(each.name, card)

    async def _keep(self, tool: str, card: ToolCard) -> None:
        if self._catalogue is None:
            return
        try:
            await self._catalogue.write(tool, card)
        except BusError as error:
            log.warning("mcp_tool_not_kept", server=self._name, tool=tool, error=error.message)
