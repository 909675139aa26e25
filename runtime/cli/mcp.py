"""``antiphon mcp serve``: handlers of running agents for MCP clients."""

import asyncio
import os
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import typer
from pydantic import SecretStr

from antiphon.runtime.cli.common import run, settings, until_signalled
from antiphon.runtime.cli.connection import connected
from antiphon.runtime.cli.main import INTERRUPTED
from antiphon.runtime.errors import MissingExtra

if TYPE_CHECKING:
    from mcp.server import Server

app = typer.Typer(no_args_is_help=True, help="Agents for clients of the Model Context Protocol.")


@app.callback()
def root() -> None:
    """Agents for clients of the Model Context Protocol."""


@app.command("serve")
def serve(
    handlers: list[str] = typer.Argument(help="AGENT.HANDLER, or AGENT for all of its handlers."),
    http: int | None = typer.Option(
        None, "--http", min=0, max=65535, help="Serve streamable HTTP on this loopback port (0: any free one)."
    ),
    durable: bool = typer.Option(False, "--durable", help="Every call is a durable task, not an ask."),
) -> None:
    """Serve agents' handlers as MCP tools, on standard streams: a client starts this command itself."""

    async def work() -> None:
        from opentelemetry import trace

        try:
            from antiphon.runtime.gateways.mcp.handler_tools import HandlerTools
        except ModuleNotFoundError as error:
            raise MissingExtra(f"serving MCP needs the package {error.name!r}: pip install 'antiphon[mcp]'") from None
        async with connected() as client:
            trace.set_tracer_provider(client.host.telemetry.provider)  # the SDK's spans are ours, and our parents
            tools = HandlerTools(client, handlers, durable=durable)
            await tools.check()
            if http is None:
                ended = await _until_signalled(tools.serve_stdio())
            else:
                ended = True
                await _serve_http(tools.server, http)
        if not ended:
            os._exit(INTERRUPTED)  # a thread of the SDK reads standard input, and nothing else ends that

    run(work())


async def _serve_http(server: "Server[Any]", port: int) -> None:
    """Serve to whoever the door would let in."""
    from antiphon.runtime.console.access import OWNER
    from antiphon.runtime.gateways.mcp.http_server import http_app, serve_http
    from antiphon.runtime.observatory import console_token

    found = settings()
    token = console_token(found.home)

    def say(url: str) -> None:
        bearer = "a token of http_tokens" if found.http_tokens else token
        typer.echo(f"mcp: {url} (Authorization: Bearer {bearer})", err=True)

    await serve_http(http_app(server, found.http_tokens or {OWNER: SecretStr(token)}), port, say)


async def _until_signalled(serving: Coroutine[Any, Any, None]) -> bool:
    """Serve until the input ends; False if a signal came first."""
    stop = until_signalled()
    task, stopping = asyncio.create_task(serving), asyncio.create_task(stop.wait())
    await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if task.done():
        task.result()
        return True
    return False
