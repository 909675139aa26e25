"""HTTP to an MCP server, with failures told apart: what surely did not run, and what may have."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2
from mcp.client._transport import TransportStreams
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CONNECTION_CLOSED

NOT_RUN: Final = -32_090  # a JSON-RPC code of ours: the server was not reached, or is too busy; nothing happened
REFUSED: Final = -32_091  # likewise: it was reached and would not (HTTP 401, 403, …)
LOST_SESSION: Final = -32_092  # likewise: the server does not know the session any more, and another must begin
CONNECT_S: Final = 10.0


class _Client(httpx2.AsyncClient):
    """Says of every request that failed what became of it.

    The SDK's transport ends the whole session, and with it every other call in flight, where no connection is made,
    and reports every HTTP status alike (mcp 2.3, ``_handle_post_request``).
    """

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """As httpx2, but a request that was surely not served is answered with a JSON-RPC error."""
        try:
            response = await super().send(request, **options)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            return _answer(request, NOT_RUN, f"cannot connect ({error or type(error).__name__})")
        if request.method != "POST" or response.status_code < 400:
            return response
        if response.status_code == 404 and "mcp-session-id" in request.headers:
            await response.aclose()
            return _answer(request, LOST_SESSION, "it has restarted and does not know the session any more")
        if response.headers.get("content-type", "").lower().startswith("application/json"):
            return response
        await response.aclose()
        return _answer(request, _code(response.status_code), f"HTTP status {response.status_code}")


def _code(status: int) -> int:
    if status in (429, 503):
        return NOT_RUN
    return REFUSED if status < 500 else CONNECTION_CLOSED


def _answer(request: httpx2.Request, code: int, message: str) -> httpx2.Response:
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}
    return httpx2.Response(503, request=request, json=body)


@asynccontextmanager
async def http_streams(url: str, headers: Mapping[str, str]) -> AsyncGenerator[TransportStreams, None]:
    """The streams of one session. A call may be silent for as long as its own timeout allows."""
    timeout = httpx2.Timeout(CONNECT_S, read=None, write=30.0)
    async with (
        _Client(headers=dict(headers), timeout=timeout) as client,
        streamable_http_client(url, http_client=client) as streams,
    ):
        yield streams
