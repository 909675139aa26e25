"""The processes of a demo: ``antiphon`` commands that end with the script, and the wait until they are there."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from antiphon import Client
from antiphon.runtime.errors import ConfigurationError, DeadlineExceeded

READY_S = 60.0  # two processes that import and join; a cold disk takes most of it


@asynccontextmanager
async def process(*arguments: str) -> AsyncGenerator[asyncio.subprocess.Process, None]:
    """An ``antiphon`` command that ends with this process, however this process ends: its input closes."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "antiphon.runtime.cli.main",
        *arguments,
        "--until-eof",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={"ANTIPHON_LOG_LEVEL": "warning", **os.environ},
        start_new_session=True,
    )
    try:
        yield child
    finally:
        assert child.stdin is not None
        child.stdin.close()
        try:
            await asyncio.wait_for(child.wait(), 20)
        except TimeoutError:
            child.kill()
            await child.wait()


async def console_address(console: asyncio.subprocess.Process) -> str:
    """Where ``antiphon up`` says its console is. Raises ConfigurationError: it did not start."""
    assert console.stdout is not None
    line = (await asyncio.wait_for(console.stdout.readline(), READY_S)).decode()
    if "http" not in line:
        raise ConfigurationError("the console did not start; it said why above")
    return line.partition(": ")[2].strip()


async def wait_ready(client: Client, processes: Sequence[asyncio.subprocess.Process]) -> None:
    """Until every process has joined.

    Raises:
        ConfigurationError: one of them ended.
        DeadlineExceeded: one of them takes too long.
    """
    end_s = time.monotonic() + READY_S
    pids = {child.pid for child in processes}
    while time.monotonic() < end_s:
        if any(child.returncode is not None for child in processes):
            raise ConfigurationError("a process of the demo ended before it was ready; it said why above")
        alive = {card.pid for card in await client.host.directory.nodes()}
        if pids <= alive:
            return
        await asyncio.sleep(0.1)
    raise DeadlineExceeded(f"the nodes were not ready within {READY_S:.0f} s")
