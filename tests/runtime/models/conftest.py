"""Requests, and an HTTP server that says exactly what a test tells it to."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from antiphon.schemas.inference import GenerateRequest, Role, Sampling, turn


@pytest.fixture
def ask() -> Callable[..., GenerateRequest]:
    """Builds plain requests."""

    def build(
        text: str = "Hello there.",
        *,
        max_tokens: int = 64,
        stop: tuple[str, ...] = (),
        deadline_unix_ms: int | None = None,
        run: str | None = None,
    ) -> GenerateRequest:
        return GenerateRequest(
            model="m",
            conversation=(turn(Role.USER, text),),
            sampling=Sampling(max_tokens=max_tokens, stop=stop),
            deadline_unix_ms=deadline_unix_ms,
            run=run,
        )

    return build


@dataclass
class RawServer:
    """Answers each connection's one request with what ``say`` writes; ``received`` keeps the requests."""

    port: int = 0
    say: Callable[[asyncio.StreamWriter], Awaitable[None]] | None = None
    received: list[bytes] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        """The base URL to give to a model."""
        return f"http://127.0.0.1:{self.port}/v1"

    def answer(self, status: int, body: str, **headers: str) -> None:
        """Say a whole response and hang up."""

        async def say(writer: asyncio.StreamWriter) -> None:
            lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
            raw = body.encode()
            writer.write(f"HTTP/1.1 {status} X\r\n{lines}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)

        self.say = say

    def stream(self, *pieces: bytes, then: asyncio.Event | None = None, cut: bool = False) -> None:
        """Say 200 and the pieces as chunks; then wait for ``then``, then end properly or hang up (``cut``)."""

        async def say(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            for piece in pieces:
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
            if then is not None:
                await then.wait()
            if not cut:
                writer.write(b"0\r\n\r\n")

        self.say = say

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-le")), 0)
            self.received.append(head + await reader.readexactly(length))
            assert self.say is not None
            saying = asyncio.ensure_future(self.say(writer))
            leaving = asyncio.ensure_future(reader.read())
            await asyncio.wait({saying, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():
                self.gone.set()
            for part in (saying, leaving):
                part.cancel()
            await asyncio.gather(saying, leaving, return_exceptions=True)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone.set()
        finally:
            writer.close()


@pytest.fixture
async def raw() -> AsyncGenerator[RawServer, None]:
    """A listening RawServer."""
    server = RawServer()
    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield server
