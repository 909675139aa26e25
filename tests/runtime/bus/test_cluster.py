"""The local cluster: three copies, one server's death survived, and nobody left behind."""

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from antiphon.runtime.bus.api import Api
from antiphon.runtime.bus.cluster import LocalCluster, local_cluster
from antiphon.runtime.bus.connect import open_bus
from antiphon.runtime.bus.connection import Connection
from antiphon.runtime.bus.core import Core
from antiphon.runtime.bus.nats import NatsBus
from antiphon.runtime.bus.server import acquire, embedded_server, layout_of, nats_folder
from antiphon.runtime.bus.topology import STREAMS, TASKS, ensure_streams
from antiphon.runtime.errors import BusUnavailable, ConfigurationError

pytestmark = pytest.mark.nats

SUBJECT = "antiphon.default.task.clerk.file"
USER = """
import sys, pathlib
from antiphon.runtime.bus.server import acquire
print(acquire(pathlib.Path(sys.argv[1]), servers=3).url, flush=True)
sys.stdin.read()
"""


async def _until(what: Callable[[], bool], within_s: float) -> bool:
    """Whether ``what`` becomes true in time; other processes give no event to wait for."""
    deadline = time.monotonic() + within_s
    while not what():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True


def _processes(home: Path) -> list[int]:
    """Guards and servers that live on ``home``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except (OSError, IndexError):
                continue  # it ended while we looked
            if str(home).encode() in command and b"nats-server" in command and state != "Z":
                found.append(int(entry.name))
    return found


async def _copies(cluster: LocalCluster, streams: list[str]) -> dict[str, int]:
    """Replicas of each stream, as the servers say."""
    connection = await Connection.open(cluster.address.url, cluster.address.token, "test")
    core = Core(connection)
    await core.start()
    found = {}
    for name in streams:
        info = await Api(core).call(f"STREAM.INFO.{name}", {})
        found[name] = info["config"]["num_replicas"]
        assert len(info["cluster"]["replicas"]) == info["config"]["num_replicas"] - 1
    await connection.close()
    core.requests.close()
    return found


async def _append(bus: NatsBus, number: int) -> int:
    """As a client does it: again, with the same message id, while there is no leader."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await bus.streams.append(SUBJECT, str(number).encode(), message_id=f"m{number}")
            except BusUnavailable:
                await asyncio.sleep(0.05)


async def test_no_confirmed_message_is_lost_with_the_leader(tmp_path: Path) -> None:
    """Three copies of every stream, bucket and blob; the leader is killed amid appends; all confirmed ones are there.

    The killed server comes back at its address, and all processes are gone in the end.
    """
    async with local_cluster(tmp_path) as cluster:
        assert len(set(cluster.pids)) == 3 and None not in cluster.pids
        bus = await open_bus(None, None, tmp_path, "test")
        assert isinstance(bus, NatsBus)
        await ensure_streams(bus)
        await bus.buckets.open("antiphon_test")
        await bus.blobs.put(b"large")
        names = [spec.name for spec in STREAMS]
        found = await _copies(cluster, [*names, "KV_antiphon_test", "OBJ_antiphon-blobs"])
        assert set(found.values()) == {3}

        # The same message from everywhere at once, as nodes send a wake-up: stored once, and nobody is refused.
        for number in range(30):
            sending = (bus.streams.append(f"{SUBJECT}.{number}", b"", message_id=f"same-{number}") for _ in range(8))
            assert len(set(await asyncio.gather(*sending))) == 1

        confirmed: dict[int, int] = {}
        killed = asyncio.Event()

        async def write(worker: int) -> None:
            number = worker
            after = 0
            while after < 20:
                confirmed[number] = await _append(bus, number)
                number += 8
                after += killed.is_set()

        writing = asyncio.gather(*(write(worker) for worker in range(8)))
        leader = await cluster.leader_of(TASKS.name)
        assert await _until(lambda: len(confirmed) > 200, 10)
        await cluster.kill(leader)
        killed.set()
        assert cluster.pids[leader] is None
        await writing
        successor = await cluster.leader_of(TASKS.name)
        assert successor != leader

        # What the successor has, in full: no append is under way.
        stored = {int(m.body): m.sequence async for m in bus.streams.read(TASKS.name, SUBJECT)}
        assert stored == confirmed
        await cluster.restart(leader)
        assert None not in cluster.pids
        await bus.close()
    assert await _until(lambda: not _processes(tmp_path), 5)


async def test_joined_healed_and_gone_with_a_killed_user(tmp_path: Path) -> None:
    """A command without a wish joins the cluster and starts again what is dead; SIGKILL of the last leaves nothing."""
    user = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-c", USER, str(tmp_path), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert user.stdout is not None
    url = (await asyncio.wait_for(user.stdout.readline(), 60)).decode().strip()
    assert len(_processes(tmp_path)) == 6  # a guard and a server, three times
    async with local_cluster(tmp_path) as cluster:
        await cluster.kill(1)
        assert len(_processes(tmp_path)) == 4
        async with embedded_server(tmp_path) as joined:
            assert joined.url == url and joined.servers == 3
            assert len(_processes(tmp_path)) == 6
        for servers in (1, 5):
            with pytest.raises(ConfigurationError, match=rf"3 server\(s\) run in .*, expected {servers}"):
                await asyncio.to_thread(acquire, tmp_path, servers=servers)
        with pytest.raises(ConfigurationError, match="ANTIPHON_DURABILITY=strict"):
            await asyncio.to_thread(acquire, tmp_path, sync_always=True)
        assert len(_processes(tmp_path)) == 6
    user.kill()
    await user.communicate()
    assert await _until(lambda: not _processes(tmp_path), 5)


async def test_profiles_of_a_single_server(tmp_path: Path) -> None:
    """``strict`` flushes each append, ``safe`` is refused and leaves nothing, ``fast`` joins what runs."""
    with pytest.raises(ConfigurationError, match="--servers 3"):
        await open_bus(None, None, tmp_path, "test", "safe")
    assert await _until(lambda: not _processes(tmp_path), 5)
    strict = await open_bus(None, None, tmp_path, "test", "strict")
    assert "sync_interval: always" in (tmp_path / "nats" / "nats-server.conf").read_text()
    fast = await open_bus(None, None, tmp_path, "test", "fast")
    await ensure_streams(strict)
    await ensure_streams(fast)
    await fast.close()
    await strict.close()


async def test_an_external_server_that_has_no_peers(tmp_path: Path) -> None:
    """Three copies on one external server: the error names the profile and what it needs."""
    async with embedded_server(tmp_path) as address:
        bus = await open_bus(address.url, address.token, tmp_path, "test", "safe")
        with pytest.raises(ConfigurationError, match="cluster of 3 servers"):
            await ensure_streams(bus)
        await bus.close()


async def test_sizes_that_make_no_cluster(tmp_path: Path) -> None:
    """Two and four servers survive no more than one and three; one is no cluster."""
    with pytest.raises(ConfigurationError, match="expected 3 or 5"):
        async with local_cluster(tmp_path, 1):
            pytest.fail("one server is no cluster")
    for servers in (0, 2, 4):
        with pytest.raises(ConfigurationError, match="expected 1, 3 or 5"):
            acquire(tmp_path, servers=servers)


@pytest.mark.parametrize("note", ["", "{", '{"servers": 2}', '{"servers": "3"}', '{"servers": [3]}'])
def test_a_damaged_note_of_the_layout(tmp_path: Path, note: str) -> None:
    """It counts as none: one server, flushing as the server does by default."""
    folder = nats_folder(tmp_path)
    folder.mkdir()
    (folder / "layout.json").write_text(note)
    assert (layout_of(folder).servers, layout_of(folder).sync_always) == (1, False)
