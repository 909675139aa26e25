"""What is said of a bus: its server, its stored messages, its clocks."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from antiphon import Agent, Context, Message
from antiphon.runtime.bus.about import ServerInfo
from antiphon.runtime.bus.binary import find_server
from antiphon.runtime.bus.probe import free_ports
from antiphon.runtime.checkup.bus import bus, clocks, jetstream
from antiphon.runtime.checkup.verdict import Status
from antiphon.runtime.client import Client
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.compose import open_host
from antiphon.runtime.node import Node
from antiphon.runtime.settings import Settings


class Ping(Message):
    """Anything."""


pinger = Agent("pinger")


@pinger.handles
async def ping(message: Ping, ctx: Context) -> Ping:
    """Say it back."""
    return message


@pytest.mark.parametrize(
    ("ours_s", "nodes", "status", "found"),
    [
        (0.2, {}, Status.OK, "within 1 s of the server: this machine and 0 nodes"),
        (-0.9, {"a": 0.9}, Status.OK, "within 1 s of the server: this machine and 1 nodes"),
        (0.2, {"a": -0.1, "b": -2.0}, Status.WARN, "b is 2.0 s behind the server"),
        (90.0, {"b": -2.0}, Status.FAIL, "this machine is 90.0 s ahead of the server"),
    ],
)
def test_the_clock_that_is_furthest_off_is_named(
    ours_s: float, nodes: dict[str, float], status: Status, found: str
) -> None:
    """Against the server's."""
    verdict = clocks(ours_s, nodes)
    assert (verdict.status, verdict.found) == (status, found)


def test_a_server_without_jetstream_stores_nothing() -> None:
    """Which is what durable work needs."""
    assert jetstream(ServerInfo(name="s", version="2", jetstream=True, unix_ms=0)).status is Status.OK
    assert jetstream(ServerInfo(name="s", version="2", jetstream=False, unix_ms=0)).status is Status.FAIL


@pytest.mark.nats
async def test_an_embedded_server_is_started_and_nodes_on_it_are_compared(tmp_path: Path) -> None:
    """A node that has worked a moment ago has a clock that can be read."""
    settings = Settings(home=tmp_path)
    found = await bus(settings, SystemClock())
    assert [(verdict.name, verdict.status) for verdict in found] == [
        ("server", Status.OK),
        ("jetstream", Status.OK),
        ("clocks", Status.OK),
    ]
    assert f"embedded in {tmp_path}" in found[0].found
    async with open_host(settings, node="node-under-test") as host, Node(host, [pinger], drain_s=1.0):
        await Client(host).ask(ping, Ping())
        async with asyncio.timeout(60):
            while "and 1 nodes" not in (found := await bus(settings, SystemClock()))[2].found:  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # its telemetry is on its way to the server: nothing here sets an event
    assert found[2].status is Status.OK


@pytest.mark.nats
async def test_a_server_without_jetstream_is_found(tmp_path: Path) -> None:
    """It answers, and its clock can be read."""
    (port,) = free_ports(1)
    settings = Settings(home=tmp_path, nats_url=f"nats://ada:secret@127.0.0.1:{port}")
    server = await asyncio.create_subprocess_exec(
        find_server(), "-a", "127.0.0.1", "-p", str(port), stderr=subprocess.PIPE
    )
    try:
        assert server.stderr is not None
        async with asyncio.timeout(60):
            while b"Server is ready" not in await server.stderr.readline():
                pass
        found = await bus(settings, SystemClock())
    finally:
        server.terminate()
        await server.communicate()
    assert [(verdict.name, verdict.status) for verdict in found] == [
        ("server", Status.OK),
        ("jetstream", Status.FAIL),
        ("clocks", Status.OK),
    ]
    assert f"nats://127.0.0.1:{port}" in found[0].found  # and not the password
