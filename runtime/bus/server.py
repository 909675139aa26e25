"""The embedded server: one nats-server per home folder, or a cluster, shared by all commands, gone with the last.

In ``home/nats``: ``users.lock`` (each user holds it shared), ``start.lock`` (one starter at a time), ``token`` (mode
0600), ``layout.json`` (how many servers, and how they flush), ``server.json`` (the port of a single server). A single
server lives in this folder, those of a cluster in ``cluster/1`` and so on; ``process`` says what is there.
The locks are ``flock``: the kernel gives them up for a process that was killed.
"""

import asyncio
import contextlib
import fcntl
import json
import os
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from pathlib import Path

import structlog

from antiphon.runtime.bus.files import lock, read, token_of, write_private
from antiphon.runtime.bus.members import Members
from antiphon.runtime.bus.probe import as_object, is_free
from antiphon.runtime.bus.process import ServerProcess
from antiphon.runtime.bus.server_config import HOST, server_config, server_name
from antiphon.runtime.errors import BusUnavailable, ConfigurationError

SIZES = (1, 3, 5)  # an even number survives no more losses than the odd one below it

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where the embedded servers listen (URLs separated by commas), what they ask for, and how many they are."""

    url: str
    token: str
    servers: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a home runs. ``sync_always``: appends are on the disk before they are confirmed."""

    servers: int = 1
    sync_always: bool = False


class EmbeddedServer:
    """The right to use the servers; they stop some milliseconds after the last one is released."""

    def __init__(self, address: ServerAddress, lock: int) -> None:
        self.address = address
        self._lock: int | None = lock

    @property
    def url(self) -> str:
        """Where to connect."""
        return self.address.url

    @property
    def token(self) -> str:
        """What the servers ask for."""
        return self.address.token

    def release(self) -> None:
        """Use it no more. Idempotent."""
        lock, self._lock = self._lock, None
        if lock is not None:
            fcntl.flock(lock, fcntl.LOCK_UN)  # closing alone would leave it to a child forked meanwhile
            os.close(lock)


def acquire(home: Path, *, servers: int | None = None, sync_always: bool = False) -> EmbeddedServer:
    """Join what runs in ``home``, or start it; servers of a cluster that have died are started again.

    Blocks, for one server usually less than 200 ms, for a cluster some seconds. ``servers`` None takes those that run,
    else as many as last time (at first one).

    Raises:
        ConfigurationError: ``home`` cannot be used, there is no nats-server program, or what runs there differs.
        BusUnavailable: a server does not start or does not answer; the message says why.
    """
    if servers is not None and servers not in SIZES:
        raise ConfigurationError(f"{servers} servers, expected {', '.join(map(str, SIZES[:-1]))} or {SIZES[-1]}")
    folder = nats_folder(home)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        users = lock(folder / "users.lock", fcntl.LOCK_SH)
        try:
            with starting(folder):
                address = _open(folder, servers, sync_always)
        except BaseException:
            os.close(users)
            raise
    except OSError as error:
        raise ConfigurationError(
            f"cannot keep the embedded server in {folder}: {error.strerror or error}; "
            "set ANTIPHON_HOME to a writable local folder with free space, or ANTIPHON_NATS_URL to a server that runs"
        ) from error
    return EmbeddedServer(address, users)


@contextlib.asynccontextmanager
async def embedded_server(
    home: Path, *, servers: int | None = None, sync_always: bool = False
) -> AsyncGenerator[ServerAddress, None]:
    """The server of ``home`` for the length of a ``with``. Arguments and errors are those of ``acquire``."""
    server = await acquire_soon(home, servers=servers, sync_always=sync_always)
    try:
        yield server.address
    finally:
        server.release()


async def acquire_soon(home: Path, *, servers: int | None = None, sync_always: bool = False) -> EmbeddedServer:
    """``acquire`` beside the event loop; a caller that is cancelled leaves nothing held."""
    attempt = asyncio.ensure_future(asyncio.to_thread(acquire, home, servers=servers, sync_always=sync_always))
    try:
        return await asyncio.shield(attempt)
    except asyncio.CancelledError:
        attempt.add_done_callback(_release_late)
        raise


def nats_folder(home: Path) -> Path:
    """Where a home keeps its servers."""
    return home.expanduser().absolute() / "nats"


@contextlib.contextmanager
def starting(folder: Path) -> Generator[None, None, None]:
    """Nobody else starts a server of this folder meanwhile. Raises BusUnavailable."""
    start = lock(folder / "start.lock", fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(start)


def layout_of(folder: Path) -> Layout:
    """What was started here last; one server when nothing was, or the note is damaged."""
    noted = as_object(read(folder / "layout.json"))
    servers = noted.get("servers")
    if not isinstance(servers, int) or servers not in SIZES:
        servers = 1
    return Layout(servers=servers, sync_always=noted.get("sync_always") is True)


def _release_late(attempt: "asyncio.Task[EmbeddedServer]") -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().release()


def _open(folder: Path, servers: int | None, sync_always: bool) -> ServerAddress:
    token = token_of(folder)
    last = layout_of(folder)
    single = ServerProcess(folder, users=folder / "users.lock", name=server_name(token))
    if single.lives or any(process.lives for process in Members(folder, token, last.servers).processes):
        _check(folder, last, servers, sync_always)
        layout = last
    else:
        layout = Layout(servers=servers or last.servers, sync_always=sync_always)
        if layout.servers != last.servers and (folder / "layout.json").exists():
            _log.warning("embedded_servers_changed", folder=str(folder), before=last.servers, now=layout.servers)
        write_private(
            folder / "layout.json", json.dumps({"servers": layout.servers, "sync_always": layout.sync_always})
        )
    if layout.servers == 1:
        ports = [_start_single(single, token, layout.sync_always)]
    else:
        ports = Members(folder, token, layout.servers).start(sync_always=layout.sync_always)
    return ServerAddress(",".join(f"nats://{HOST}:{port}" for port in ports), token, len(ports))


def _check(folder: Path, running: Layout, servers: int | None, sync_always: bool) -> None:
    if servers is not None and servers != running.servers:
        raise ConfigurationError(
            f"{running.servers} server(s) run in {folder}, expected {servers}: end the commands that use them, "
            "or set ANTIPHON_HOME to another folder"
        )
    if sync_always and not running.sync_always:
        raise ConfigurationError(
            f"what runs in {folder} flushes to the disk every two minutes, and durability 'strict' asks for a flush "
            "with each append: end the commands that use it and start again with ANTIPHON_DURABILITY=strict"
        )


def _start_single(process: ServerProcess, token: str, sync_always: bool) -> int:
    """Join the server or start it; the port it listens on."""
    note = process.folder / "server.json"
    last = _noted_port(note)
    running = process.join(last)
    if running is not None:
        return running
    # The port of last time lets those reconnect who still use a server that was killed by hand.
    for port in (last, None):
        if port is not None and not is_free(port):
            continue
        config = server_config(process.folder, name=process.name, token=token, port=port, sync_always=sync_always)
        found = process.launch(config)
        if found is not None:
            write_private(note, json.dumps({"port": found}))
            return found
    raise BusUnavailable(f"the embedded server did not start: {process.complaint()}")


def _noted_port(note: Path) -> int | None:
    """The port in ``server.json``; None when it is missing or damaged."""
    port = as_object(read(note)).get("port")
    return port if isinstance(port, int) and 0 < port < 65_536 else None
