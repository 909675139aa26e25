"""One session with an MCP server, from its start to its end, in a task of its own."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final

import structlog
from mcp import Client
from mcp.client._transport import TransportStreams
from mcp.client.session import IncomingMessage
from mcp_types import CallToolResult, Implementation, Tool, ToolListChangedNotification
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from antiphon.runtime.gateways.mcp.watched import Watched
from antiphon.runtime.gateways.mcp.ways import Way
from antiphon.runtime.version import VERSION

START_S: Final = 60.0  # a server that a package manager fetches first takes its time
LIST_S: Final = 30.0
CLOSE_S: Final = 8.0  # the SDK gives a process 2 s to end by itself, 2 s after SIGTERM, 2 s after SIGKILL
AGAIN_S: Final = 30.0  # until a subscription that broke is begun anew
_PAGES: Final = 100

Learned = Callable[[list[Tool]], Awaitable[None]]

log = structlog.get_logger()


class Session:
    """Begins at once, ``delay_s`` from now; ends when the server goes away or it is closed.

    The client's cancel scopes are entered and left in the session's own task; calls may come from any task, because
    they only pass messages. ``learned`` is given the server's tools at the start and whenever they change; ``ended``
    is called once the session is over.
    """

    def __init__(
        self, name: str, way: Way, learned: Learned, ended: Callable[["Session"], None], *, delay_s: float = 0.0
    ) -> None:
        self.name = name
        self.reason = "it closed the connection"  # why it ended, for messages
        self.answered = False  # whether a call ever came back
        self._way = way
        self._learned = learned
        self._ended = ended
        self._client: Client | None = None
        self._opening = False
        self._started = asyncio.Event()
        self._gone = asyncio.Event()
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._live(delay_s), name=f"mcp {name}")

    @property
    def alive(self) -> bool:
        """Whether a call that begins now can reach the server, as far as is known."""
        return self._client is not None and not self._gone.is_set()

    @property
    def ended(self) -> bool:
        """Whether it is over: it died, was closed, or never came to be."""
        return self._gone.is_set() or self._task.done()

    async def started(self) -> bool:
        """Wait until it is known whether the session came to be."""
        await self._started.wait()
        return self.alive

    async def call(self, tool: str, arguments: dict[str, Any]) -> CallToolResult:
        """One call of a session that is alive; cancelling it tells the server.

        Raises:
            MCPError: what the server says; CONNECTION_CLOSED: it went away.
            RuntimeError, ValidationError: its answer is not what it declares.
        """
        assert self._client is not None  # the caller has just seen that it is alive
        result = await self._client.call_tool(tool, arguments)
        self.answered = True
        return result

    def end(self, reason: str) -> None:
        """Let it end, without waiting."""
        self.reason = reason
        self._gone.set()

    async def close(self) -> None:
        """End the session and wait until its server process is gone."""
        self.end("it was closed")
        if not self._started.is_set() and not self._opening:
            self._task.cancel()
        _, pending = await asyncio.wait((self._task,), timeout=CLOSE_S)
        if pending:
            log.warning("mcp_session_not_closed", server=self.name, waited_s=CLOSE_S)

    async def _live(self, delay_s: float) -> None:
        try:
            await asyncio.sleep(delay_s)
            async with contextlib.AsyncExitStack() as stack:
                async with asyncio.timeout(None) as limit:
                    client = await stack.enter_async_context(self._connected(limit))
                    await self._learned(await _tools(client))
                self._client = client
                self._started.set()
                log.info("mcp_session_started", server=self.name, protocol=client.protocol_version)
                listening = asyncio.create_task(self._listen(client))
                try:
                    await self._gone.wait()
                finally:
                    listening.cancel()
                    await asyncio.wait((listening,))
        except Exception as error:  # of the SDK, its transport, the operating system: all are the end of it
            self.reason = said(error)
        finally:
            self._client = None
            self._gone.set()
            self._started.set()
            self._ended(self)
        log.info("mcp_session_ended", server=self.name, reason=self.reason)

    def _connected(self, limit: asyncio.Timeout) -> Client:
        return Client(
            self._streams(limit),
            cache=None,  # what it learned is kept by ``learned``
            client_info=Implementation(name="antiphon", version=VERSION),
            message_handler=self._on_message,
        )

    @contextlib.asynccontextmanager
    async def _streams(self, limit: asyncio.Timeout) -> AsyncGenerator[TransportStreams, None]:
        """The time begins once the process has: asyncio waits for ever for one whose start is cancelled half-way."""
        self._opening = True
        async with self._way.open() as (read, write):
            self._opening = False
            if self._gone.is_set():
                raise ConnectionError(self.reason)  # closed meanwhile
            limit.reschedule(asyncio.get_running_loop().time() + START_S)
            yield Watched(read, self._gone), write

    async def _on_message(self, message: IncomingMessage) -> None:
        if isinstance(message, ToolListChangedNotification):
            self._changed.set()

    async def _listen(self, client: Client) -> None:
        """Learn the tools anew whenever the server says that they changed; how it says so depends on its version."""
        tools = client.server_capabilities.tools
        if tools is None or not tools.list_changed:
            return
        notified = client.protocol_version not in MODERN_PROTOCOL_VERSIONS
        while self.alive:
            try:
                await (self._notified(client) if notified else self._subscribed(client))
            except Exception as error:  # of the SDK, or a server that does not keep to its word
                if self.alive:  # else the session is over, which is said elsewhere
                    log.warning("mcp_changes_not_followed", server=self.name, error=said(error))
            await asyncio.sleep(AGAIN_S)

    async def _notified(self, client: Client) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._learned(await _tools(client))

    async def _subscribed(self, client: Client) -> None:
        async with client.listen(tools_list_changed=True) as news:
            await self._learned(await _tools(client))  # what changed before anybody listened
            async for _ in news:
                await self._learned(await _tools(client))


async def _tools(client: Client) -> list[Tool]:
    """All tools of the server, page by page."""
    found: list[Tool] = []
    cursor: str | None = None
    async with asyncio.timeout(LIST_S):
        for _ in range(_PAGES):
            page = await client.list_tools(cursor=cursor)
            found += page.tools
            cursor = page.next_cursor
            if cursor is None:
                break
    return found


def said(error: BaseException) -> str:
    """What went wrong, in one line: of a group, its first cause."""
    if isinstance(error, BaseExceptionGroup):
        causes: tuple[BaseException, ...] = error.exceptions
        return said(causes[0])
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    return (str(error) or type(error).__name__).splitlines()[0]
