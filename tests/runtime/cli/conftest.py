"""A real server with a node in this process, and commands as processes of their own."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from antiphon import Agent
from antiphon.runtime.client import Client
from antiphon.runtime.compose import open_host
from antiphon.runtime.node import Node
from antiphon.runtime.settings import Settings

COMMAND_S = 30.0  # for a machine that is busy with other things; one second is usual


class Said(NamedTuple):
    """How a command ended, and what it wrote."""

    status: int
    out: str
    err: str


Command = Callable[..., Awaitable[Said]]
Serve = Callable[[Agent], Awaitable[Client]]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """``await command("dead", "list")``: the command line on the test's own home."""

    async def run(*arguments: str) -> Said:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANTIPHON_", "OTEL_"))}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "antiphon.runtime.cli.main",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**kept, "ANTIPHON_HOME": str(tmp_path / "home"), "COLUMNS": "200", "ANTIPHON_TRACE": "0"},
            cwd=tmp_path,
        )
        out, err = await asyncio.wait_for(process.communicate(), COMMAND_S)
        assert process.returncode is not None
        return Said(process.returncode, out.decode(), err.decode())

    return run


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncGenerator[Serve, None]:
    """``client = await serve(agent)``: a node that hosts the agent until the test is over, and a client."""
    async with AsyncExitStack() as stack:

        async def start(agent: Agent) -> Client:
            host = await stack.enter_async_context(
                open_host(Settings(home=tmp_path / "home", trace=0.0), node="node-under-test")
            )
            await stack.enter_async_context(Node(host, [agent], drain_s=1.0))
            return Client(host)

        yield start
