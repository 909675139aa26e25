"""The embedded server: one nats-server per home folder, shared by all commands, gone with the last of them.

In ``home/nats``: ``users.lock`` (each user holds it shared), ``start.lock`` (one starter at a time), ``server.lock``
(held by guard and server while either lives), ``token`` and ``nats-server.conf`` (mode 0600), ``server.json`` (the
port), ``store/`` (JetStream). The locks are ``flock``: the kernel gives them up for a process that was killed.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

from antiphon.runtime.bus import guard
from antiphon.runtime.bus.binary import find_server
from antiphon.runtime.errors import BusUnavailable, ConfigurationError

_HOST = "127.0.0.1"
_LOCK_S = 15.0  # another command starts the server, or its guard stops it; each takes well under a second
_JOIN_S = 5.0
_START_S = 10.0
_KNOCK_S = 0.5
_POLL_S = 0.005


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where the embedded server listens, and what it asks for."""

    url: str
    token: str


class EmbeddedServer:
    """The right to use the server; it stops some milliseconds after the last one is released."""

    def __init__(self, address: ServerAddress, lock: int) -> None:
        self.url = address.url
        self.token = address.token
        self._lock: int | None = lock

    def release(self) -> None:
        """Use it no more. Idempotent."""
        lock, self._lock = self._lock, None
        if lock is not None:
            fcntl.flock(lock, fcntl.LOCK_UN)  # closing alone would leave it to a child forked meanwhile
            os.close(lock)


def acquire(home: Path) -> EmbeddedServer:
    """Join the server of ``home`` or start it. Blocks, usually for less than 200 ms.

    Raises:
        ConfigurationError: ``home`` cannot be used, or there is no nats-server program.
        BusUnavailable: the server does not start or does not answer; the message says why.
    """
    folder = home.expanduser().absolute() / "nats"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        users = _lock(folder / "users.lock", fcntl.LOCK_SH)
        try:
            start = _lock(folder / "start.lock", fcntl.LOCK_EX)
            try:
                address = _join(folder) or _start(folder)
            finally:
                os.close(start)
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
async def embedded_server(home: Path) -> AsyncGenerator[ServerAddress, None]:
    """The server of ``home`` for the length of a ``with``. Raises as ``acquire``."""
    server = await acquire_soon(home)
    try:
        yield ServerAddress(server.url, server.token)
    finally:
        server.release()


async def acquire_soon(home: Path) -> EmbeddedServer:
    """``acquire`` beside the event loop; a caller that is cancelled leaves nothing held."""
    attempt = asyncio.ensure_future(asyncio.to_thread(acquire, home))
    try:
        return await asyncio.shield(attempt)
    except asyncio.CancelledError:
        attempt.add_done_callback(_release_late)
        raise


def _release_late(attempt: "asyncio.Task[EmbeddedServer]") -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().release()


def _lock(path: Path, kind: int) -> int:
    """An open file with the lock; closing it gives the lock up."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + _LOCK_S
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(file)
                raise BusUnavailable(
                    f"{path} has been locked for {_LOCK_S:g} s; another command hangs while it starts or stops the "
                    "server: end it and try again"
                ) from None
            time.sleep(_POLL_S)
        except OSError:
            os.close(file)
            raise


def _lives(folder: Path) -> bool:
    """Whether a server or its guard is alive. Only for the holder of ``start.lock``."""
    file = os.open(folder / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _join(folder: Path) -> ServerAddress | None:
    """The server that runs here, or None when none does."""
    deadline = time.monotonic() + _JOIN_S
    while _lives(folder):
        token = _read_token(folder)
        for port in (_last_port(folder), _announced_port(folder)):
            if token and port and _answers(port, _server_name(token)):
                return ServerAddress(f"nats://{_HOST}:{port}", token)
        if time.monotonic() > deadline:
            raise BusUnavailable(
                f"a server holds {folder} but does not answer within {_JOIN_S:g} s; "
                "end the programs that use it (nats-server among them) and try again"
            )
        time.sleep(_POLL_S)
    return None


def _start(folder: Path) -> ServerAddress:
    token = _read_token(folder) or _write_token(folder)
    # The port of last time lets those reconnect who still use a server that was killed by hand.
    for port in (_last_port(folder), None):
        if port is not None and not _is_free(port):
            continue
        address = _launch(folder, token, port)
        if address is not None:
            return address
    raise BusUnavailable(f"the embedded server did not start: {_tail(folder)}; its folder is {folder}")


def _launch(folder: Path, token: str, port: int | None) -> ServerAddress | None:
    for stale in folder.glob("*.ports"):
        stale.unlink()
    config = folder / "nats-server.conf"
    _write_private(config, _config(folder, token, port))
    script = [sys.executable, "-I", "-S", guard.__file__, str(folder / "users.lock"), str(folder / "server.lock")]
    command = [str(find_server()), "-c", str(config), "--ports_file_dir", str(folder)]
    subprocess.run(
        [*script, str(folder / "startup.log"), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        timeout=_START_S,
        check=False,
        cwd="/",
    )
    deadline = time.monotonic() + _START_S
    while _lives(folder) and time.monotonic() < deadline:
        found = _announced_port(folder)
        if found and _answers(found, _server_name(token)):
            _write_private(folder / "server.json", json.dumps({"port": found}))
            return ServerAddress(f"nats://{_HOST}:{found}", token)
        time.sleep(_POLL_S)
    return None


def _config(folder: Path, token: str, port: int | None) -> str:
    """Loopback only; 16 GiB of store so that the streams' reservations do not depend on the disk's free space."""
    return f"""listen: "{_HOST}:{port or -1}"
server_name: {_server_name(token)}
authorization {{ token: "{token}" }}
jetstream {{ store_dir: {json.dumps(str(folder / "store"))}, max_memory_store: 67108864, max_file_store: 17179869184 }}
log_file: {json.dumps(str(folder / "server.log"))}
logfile_size_limit: 8388608
logfile_max_num: 2
"""


def _server_name(token: str) -> str:
    """Tells our server from another program that got its port; the token itself stays secret."""
    return f"antiphon-{hashlib.sha256(token.encode()).hexdigest()[:12]}"


def _answers(port: int, name: str) -> bool:
    """Whether the server of that name listens there."""
    try:
        with socket.create_connection((_HOST, port), _KNOCK_S) as connection:
            connection.settimeout(_KNOCK_S)
            line = connection.makefile("rb").readline(65_536)
    except OSError:
        return False
    found = re.match(rb"INFO (\{.*\})", line)
    return found is not None and _object(found[1].decode("utf-8", "replace")).get("server_name") == name


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _last_port(folder: Path) -> int | None:
    """The port in ``server.json``; None when it is missing or damaged."""
    port = _object(_read(folder / "server.json")).get("port")
    return port if isinstance(port, int) and 0 < port < 65_536 else None


def _announced_port(folder: Path) -> int | None:
    """The port in the server's own ports file; None until it is written whole."""
    for path in folder.glob("*.ports"):
        urls = _object(_read(path)).get("nats")
        if isinstance(urls, list) and urls:
            found = re.search(r":(\d+)$", str(urls[0]))
            if found:
                return int(found[1])
    return None


def _read_token(folder: Path) -> str:
    """The token, or nothing when it is missing or damaged."""
    token = _read(folder / "token").strip()
    return token if re.fullmatch(r"[0-9a-f]{48}", token) else ""


def _write_token(folder: Path) -> str:
    token = secrets.token_hex(24)
    _write_private(folder / "token", token)
    return token


def _write_private(path: Path, text: str) -> None:
    """Whole or not at all, readable by its owner only."""
    part = path.with_suffix(".part")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    part.replace(path)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _object(text: str) -> dict[str, object]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _tail(folder: Path) -> str:
    """The server's last complaint."""
    lines = [line for name in ("server.log", "startup.log") for line in _read(folder / name).splitlines()]
    complaints = [line for line in lines if "[FTL]" in line or "[ERR]" in line] or lines
    return complaints[-1].strip() if complaints else "it said nothing"
