"""One nats-server process in a folder of its own, under a guard that ends it when its users are gone.

In the folder: ``server.lock`` (held by guard and server while either lives), ``nats-server.conf`` (mode 0600),
``*.ports`` (the server's own note of where it listens, its process id in the name), ``server.log``, ``store/``.
"""

import re
import signal
import subprocess
import sys
import time
from os import kill
from pathlib import Path

from antiphon.runtime.bus import guard
from antiphon.runtime.bus.binary import find_server
from antiphon.runtime.bus.files import POLL_S, is_locked, read, write_private
from antiphon.runtime.bus.probe import answers, as_object
from antiphon.runtime.errors import BusUnavailable

_JOIN_S = 5.0
_START_S = 30.0  # a tenth of a second is usual, on a machine with nothing else to do
_KILLED_S = 5.0


class ServerProcess:
    """A server by its folder, whether it runs or not. ``users`` is the lock that its users share.

    Only the holder of the home's ``start.lock`` may start it or wait for it.
    """

    def __init__(self, folder: Path, *, users: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self._users = users

    @property
    def lives(self) -> bool:
        """Whether the server or its guard is alive."""
        return self.folder.is_dir() and is_locked(self.folder / "server.lock")

    @property
    def pid(self) -> int | None:
        """The server's process id, or None when it does not run."""
        noted = next(self.folder.glob("*.ports"), None)
        return int(noted.stem.rpartition("_")[2]) if noted and self.lives else None

    def join(self, noted_port: int | None) -> int | None:
        """The port of the server that runs here, or None when none does. Raises BusUnavailable."""
        deadline = time.monotonic() + _JOIN_S
        while self.lives:
            port = self._listening(noted_port)
            if port is not None:
                return port
            if time.monotonic() > deadline:
                raise BusUnavailable(
                    f"a server holds {self.folder} but does not answer within {_JOIN_S:g} s; "
                    "end the programs that use it (nats-server among them) and try again"
                )
            time.sleep(POLL_S)
        return None

    def launch(self, config: str) -> int | None:
        """Start it; the port it listens on, or None when it ended at once (``complaint`` says why).

        Raises:
            ConfigurationError: there is no nats-server program.
            OSError: the folder cannot be used.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for stale in self.folder.glob("*.ports"):
            stale.unlink()
        file = self.folder / "nats-server.conf"
        write_private(file, config)
        locks = [str(self._users), str(self.folder / "server.lock"), str(self.folder / "startup.log")]
        command = [str(find_server()), "-c", str(file), "--ports_file_dir", str(self.folder)]
        subprocess.run(
            [sys.executable, "-I", "-S", guard.__file__, *locks, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            timeout=_START_S,
            check=False,
            cwd="/",
        )
        deadline = time.monotonic() + _START_S
        while self.lives and time.monotonic() < deadline:
            port = self._listening(None)
            if port is not None:
                return port
            time.sleep(POLL_S)
        return None

    def kill(self) -> None:
        """SIGKILL the server and wait until its guard has gone too. Raises BusUnavailable."""
        pid = self.pid
        if pid is not None:
            kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + _KILLED_S
        while self.lives:
            if time.monotonic() > deadline:
                raise BusUnavailable(f"the server in {self.folder} was killed but is still there after {_KILLED_S:g} s")
            time.sleep(POLL_S)

    def complaint(self) -> str:
        """The server's last complaint, with its folder."""
        lines = [line for log in ("server.log", "startup.log") for line in read(self.folder / log).splitlines()]
        complaints = [line for line in lines if "[FTL]" in line or "[ERR]" in line] or lines
        return f"{complaints[-1].strip() if complaints else 'it said nothing'}; its folder is {self.folder}"

    def _listening(self, noted: int | None) -> int | None:
        """The port, of the one noted by us and the one noted by the server, where our server answers."""
        return next((port for port in (noted, self._announced()) if port and answers(port, self.name)), None)

    def _announced(self) -> int | None:
        """The port in the server's own ports file; None until it is written whole."""
        for path in self.folder.glob("*.ports"):
            urls = as_object(read(path)).get("nats")
            if isinstance(urls, list) and urls:
                found = re.search(r":(\d+)$", str(urls[0]))
                if found:
                    return int(found[1])
        return None
