"""The processes: nodes and servers that are killed and started again, and the note of when that was."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from antiphon.runtime.bus.binary import find_server
from antiphon.runtime.bus.cluster import LocalCluster, local_cluster
from antiphon.runtime.bus.probe import answers, free_ports
from antiphon.runtime.bus.server_config import server_config
from antiphon.runtime.bus.topology import TASKS
from antiphon.runtime.settings import Settings
from havoc.node import READY
from havoc.plan import Blow, Victim

START_S = 120.0
DRAIN_S = 120.0
AWAY_S = 3.0  # a killed server of a cluster; another one leads meanwhile
POLL_S = 0.01
TOKEN = "chaos"


@dataclass(frozen=True, slots=True)
class Kill:
    """A blow that hit: the incarnation of a node, or a server."""

    victim: Victim
    name: str
    unix_ms: int


class Broker(Protocol):
    """What carries the messages."""

    settings: Settings
    environ: dict[str, str]

    async def strike(self) -> str:
        """Kill one server and see to it that it comes back; its name."""
        ...


class SingleBroker:
    """One nats-server on a fixed port with a fixed store."""

    def __init__(self, home: Path) -> None:
        (self._port,) = free_ports(1)
        self._file = home / "nats-server.conf"
        self._file.write_text(
            server_config(home / "nats", name=TOKEN, token=TOKEN, port=self._port, sync_always=False), encoding="utf-8"
        )
        (home / "nats").mkdir()
        self._process: asyncio.subprocess.Process | None = None
        url = f"nats://127.0.0.1:{self._port}"
        self.environ = {"ANTIPHON_NATS_URL": url, "ANTIPHON_NATS_TOKEN": TOKEN, "ANTIPHON_HOME": str(home)}
        self.settings = Settings.model_validate({"home": home, "nats_url": url, "nats_token": TOKEN})

    async def start(self) -> None:
        """Return when it answers. Raises TimeoutError."""
        self._process = await asyncio.create_subprocess_exec(str(find_server()), "-c", str(self._file))
        async with asyncio.timeout(START_S):
            while not await asyncio.to_thread(answers, self._port, TOKEN):  # noqa: ASYNC110  # a process tells nobody
                await asyncio.sleep(POLL_S)

    async def strike(self) -> str:
        """See Broker."""
        await self.stop()
        await self.start()
        return "broker"

    async def stop(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()


class ClusterBroker:
    """Three servers, of which the one that leads the stream of tasks is hit."""

    def __init__(self, home: Path, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self.environ = {"ANTIPHON_HOME": str(home)}
        self.settings = Settings(home=home)

    async def strike(self) -> str:
        """See Broker."""
        leader = await self._cluster.leader_of(TASKS.name)
        await self._cluster.kill(leader)
        await asyncio.sleep(AWAY_S)
        await self._cluster.restart(leader)
        return f"server {leader + 1}"


@asynccontextmanager
async def broker(home: Path, *, cluster: bool) -> AsyncGenerator[Broker, None]:
    """A broker for the length of a ``with``."""
    async with AsyncExitStack() as stack:
        if cluster:
            yield ClusterBroker(home, await stack.enter_async_context(local_cluster(home)))
        else:
            single = SingleBroker(home)
            stack.push_async_callback(single.stop)
            await single.start()
            yield single


class Fleet:
    """Node processes, each started again whenever it has ended, as a supervisor would.

    Incarnations are named ``n{index}-{count}``; each logs to ``{name}.log`` in the folder.
    """

    def __init__(self, folder: Path, count: int, carrier: Broker) -> None:
        self._folder = folder
        self._broker = carrier
        self._count = count
        self._nodes: dict[int, tuple[str, asyncio.subprocess.Process]] = {}
        self._said: dict[int, asyncio.Task[bytes]] = {}  # the first line of each, which is READY or a failure
        self._background: list[asyncio.Task[None]] = []
        self._returning: list[asyncio.Task[str]] = []
        self._launching = asyncio.Lock()
        self._stopping = False
        self.kills: list[Kill] = []

    async def start(self) -> None:
        """Start all, and return when they serve. Raises TimeoutError."""
        for index in range(self._count):
            await self._launch(index, 1)
        async with asyncio.timeout(START_S):
            for index, (name, _) in self._nodes.items():
                said = (await self._said[index]).decode().strip()
                assert said == READY, f"node {name} did not start: see {self._folder}"
        self._background = [asyncio.create_task(self._keep(index)) for index in range(self._count)]

    async def strike(self, blow: Blow) -> None:
        """SIGKILL the victim; it is started again at once."""
        if blow.victim is not Victim.NODE:
            self.kills.append(Kill(blow.victim, blow.victim.value, _now_ms()))
            self._returning.append(asyncio.create_task(self._broker.strike()))
            return
        name, node = self._nodes[blow.index]
        if node.returncode is None:
            self.kills.append(Kill(blow.victim, name, _now_ms()))
            node.kill()

    async def settled(self) -> None:
        """Return when servers that were hit are back. Raises what kept one away."""
        await asyncio.gather(*self._returning)

    async def stop(self) -> list[int]:
        """SIGTERM all that serve; their exit statuses. One that does not drain in time is killed (-9).

        One that was killed late may still be starting, and a SIGTERM then is its death (-15), not a drain.
        """
        async with self._launching:
            self._stopping = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                await asyncio.gather(*self._said.values())
        for _, node in self._nodes.values():
            with contextlib.suppress(ProcessLookupError):
                node.send_signal(signal.SIGTERM)
        for _, node in self._nodes.values():
            try:
                await asyncio.wait_for(node.wait(), DRAIN_S)
            except TimeoutError:
                node.kill()
                await node.wait()
        await asyncio.gather(*self._background)
        return [node.returncode or 0 for _, node in self._nodes.values()]

    async def _keep(self, index: int) -> None:
        count = 1
        while True:
            await self._nodes[index][1].wait()
            count += 1
            async with self._launching:
                if self._stopping:
                    return
                await self._launch(index, count)

    async def _launch(self, index: int, count: int) -> None:
        name = f"n{index}-{count}"
        path = os.pathsep.join(filter(None, (str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH"))))
        with (self._folder / f"{name}.log").open("wb") as log:
            node = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "havoc.node", str(self._folder), name),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, **self._broker.environ, "PYTHONPATH": path},
            )
        assert node.stdout is not None  # piped
        self._nodes[index] = name, node
        self._said[index] = asyncio.create_task(node.stdout.readline())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
