"""Tools of servers made with the official package, and of HTTP servers that are in trouble."""

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp.server import MCPServer
from starlette.applications import Starlette
from starlette.routing import Mount

from antiphon.runtime.errors import AntiphonError, InDoubt, ToolFailed, ToolTimeout, ToolUnavailable
from antiphon.runtime.gateways.mcp.remote import McpServer

SCRIPT = Path(__file__).with_name("notes_server.py")
TOKEN = "notes-0123456789"

ServeApp = Callable[[Any], AbstractAsyncContextManager[str]]
App = Callable[[Any, Any, Any], Awaitable[None]]


class Trouble:
    """Stands before a server: the next requests with a word in their body get this status, or are cut off."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.status = 0
        self.word = b""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not self.status:
            await self._app(scope, receive, send)
            return
        message = await receive()
        if self.word not in message.get("body", b""):
            messages = iter([message])

            async def again() -> Any:
                return next(messages, None) or await receive()

            await self._app(scope, again, send)
            return
        cut = self.status == 200
        headers = [(b"content-type", b"application/json" if cut else b"text/plain")]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"jsonrpc"', "more_body": cut})
        if cut:
            raise OSError("a cable was pulled")


def notes_server(folder: Path) -> MCPServer:
    """That of ``notes_server.py``."""
    spec = importlib.util.spec_from_file_location("notes_server", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    server: MCPServer = module.notes_server(folder)
    return server


def notes_app(folder: Path) -> Trouble:
    """The notes server over HTTP, for whoever has the token."""
    inner = notes_server(folder).streamable_http_app()

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and (b"authorization", f"Bearer {TOKEN}".encode()) not in scope["headers"]:
            await send({"type": "http.response.start", "status": 401, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"who are you?"})
            return
        await inner(scope, receive, send)

    return Trouble(guarded)


@pytest.fixture
async def notes(tmp_path: Path, serve_app: ServeApp) -> AsyncIterator[tuple[McpServer, Trouble]]:
    """The server as users see it, and what stands before it."""
    trouble = notes_app(tmp_path)
    async with serve_app(trouble) as url:
        yield McpServer.http("notes", url, headers={"authorization": f"Bearer {TOKEN}"}), trouble


class Switch:
    """A server of 2025 that can be restarted: it answers no discovery, and knows only its own sessions."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.app: Any = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.app = app = notes_server(self._folder).streamable_http_app()
        async with app.router.lifespan_context(app):
            yield

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if (b"mcp-method", b"server/discover") in scope["headers"]:
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await self.app(scope, receive, send)


async def test_an_http_server_that_restarts(tmp_path: Path, serve_app: ServeApp) -> None:
    """A write of a session that it does not know any more did not run: it is sent again in a new one."""
    switch = Switch(tmp_path)
    async with serve_app(Starlette(routes=[Mount("/", app=switch)])) as url:
        server = McpServer.http("notes", url)
        search = server.tool("search")
        async with switch.running(), server.opened():
            assert await search(query="x") == "two notes on x"
            async with switch.running():
                assert await search(query="y") == "two notes on y"
    assert arrived(tmp_path) == ["search", "search"]


def arrived(folder: Path) -> list[str]:
    return (folder / "calls").read_text().split()


async def test_the_official_server_over_http(notes: tuple[McpServer, Trouble], tmp_path: Path) -> None:
    """Structured results, text, images; errors in the server's words; a timeout stops the tool at the other end."""
    server, _ = notes
    add, search, picture, refuse = server.tools("add", "search", "picture", "refuse", effect="read")
    hang = server.tool("hang", effect="read", timeout="300ms")
    async with server.opened():
        assert add.parameters["required"] == ["a", "b"]
        assert await add(a=1, b=2) == {"total": 3}
        assert await search(query="sky") == "two notes on sky"
        assert await picture() == "[image, image/png, 8 bytes, not shown]"
        with pytest.raises(ToolFailed, match="refuse: Error executing tool refuse: the shelf is locked: dust"):
            await refuse(why="dust")
        with pytest.raises(ToolFailed, match="valid integer"):
            await add(a="x", b=1)
        with pytest.raises(ToolTimeout):
            await hang.limited({})
        assert await add(a=2, b=2) == {"total": 4}
    assert [line for line in arrived(tmp_path) if line.startswith("hang")] == ["hang", "hang-stopped"]


async def test_tools_that_change_are_learned_anew(notes: tuple[McpServer, Trouble]) -> None:
    """A new server says so on a subscription."""
    server, _ = notes
    search, grow = server.tools("search", "grow")
    async with server.opened():
        assert search.description == "Notes that match."
        await grow()
        async with asyncio.timeout(60):
            while search.description != "Grown.":  # noqa: ASYNC110  # it comes when the server's message does
                await asyncio.sleep(0.01)


VERDICTS: tuple[tuple[int, type[AntiphonError], type[AntiphonError]], ...] = (  # status, of a read, of a write
    (401, ToolFailed, ToolFailed),
    (403, ToolFailed, ToolFailed),
    (429, ToolUnavailable, ToolUnavailable),
    (503, ToolUnavailable, ToolUnavailable),
    (500, ToolUnavailable, InDoubt),
    (502, ToolUnavailable, InDoubt),
    (200, ToolUnavailable, InDoubt),  # and the connection breaks in the middle of the answer
)


async def test_what_an_http_status_says_of_the_call(notes: tuple[McpServer, Trouble]) -> None:
    """A write is in doubt only where it may have run; afterwards the server is as good as before."""
    server, trouble = notes
    read, write = server.tool("search", effect="read"), server.tool("search", rename="write")
    async with server.opened():
        assert await read(query="x") == "two notes on x"
        trouble.word = b'"tools/call"'
        for trouble.status, *expected in VERDICTS:
            for tool, kind in zip((read, write), expected, strict=True):
                with pytest.raises(kind) as error:
                    await tool(query="y")
                assert type(error.value) is kind, trouble.status
        trouble.status = 0
        assert await write(query="z") == "two notes on z"


async def test_an_http_server_that_is_not_there(tmp_path: Path, serve_app: ServeApp) -> None:
    """A write that was never sent is not in doubt, and the other calls of the session go on."""
    async with serve_app(notes_app(tmp_path)) as url:
        server = McpServer.http("notes", url, headers={"authorization": f"Bearer {TOKEN}"})
        write = server.tool("search")
        stack = server.opened()
        await stack.__aenter__()
        assert await write(query="x") == "two notes on x"
    try:
        for _ in range(2):
            with pytest.raises(ToolUnavailable, match="'notes' cannot be reached"):
                await write(query="y")
    finally:
        await stack.__aexit__(None, None, None)
    assert arrived(tmp_path) == ["search"]


async def test_a_wrong_token_is_said_at_once(tmp_path: Path, serve_app: ServeApp) -> None:
    """With the server's status; nothing is known of its tools then."""
    async with serve_app(notes_app(tmp_path)) as url:
        server = McpServer.http("notes", url)
        search = server.tool("search")
        async with server.opened():
            with pytest.raises(ToolUnavailable, match="HTTP status 401"):
                await search(query="x")
