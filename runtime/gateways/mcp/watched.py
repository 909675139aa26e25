"""The stream from a server, watched for its end."""

import asyncio
from types import TracebackType

from mcp.client._transport import ReadStream
from mcp.shared.message import SessionMessage


class Watched:
    """A ReadStream that sets ``gone`` when it has ended: the client itself only fails the calls that it has then."""

    def __init__(self, stream: ReadStream[SessionMessage | Exception], gone: asyncio.Event) -> None:
        self._stream = stream
        self._gone = gone

    async def receive(self) -> SessionMessage | Exception:
        return await self._stream.receive()

    async def aclose(self) -> None:
        await self._stream.aclose()

    def __aiter__(self) -> "Watched":
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        return await self._stream.__anext__()

    async def __aenter__(self) -> "Watched":
        await self._stream.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> bool | None:
        self._gone.set()
        return await self._stream.__aexit__(exc_type, exc_val, exc_tb)
