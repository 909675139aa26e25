"""A console over a store: started as a person starts it, asked as its page asks, and how much memory it has."""

import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

LIMIT_S = 60.0


@dataclass(kw_only=True)
class Console:
    """A running ``antiphon up``. ``address`` has the token in it."""

    address: str
    pid: int
    _connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        where = urlsplit(self.address)
        self._connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=LIMIT_S)
        self._headers = {"authorization": f"Bearer {where.query.partition('=')[2]}"}

    def get(self, path: str) -> tuple[float, bytes]:
        """Milliseconds from the request to the last byte, and what came; on a connection that stays open."""
        began_s = time.perf_counter()
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        took_ms = (time.perf_counter() - began_s) * 1000
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {body[:200]!r}")
        return took_ms, body

    def resident_mb(self) -> float:
        """Of the process alone, now."""
        return self._status("VmRSS")

    def peak_mb(self) -> float:
        """The most it ever had."""
        return self._status("VmHWM")

    def _status(self, name: str) -> float:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024 / 1e6


@contextmanager
def console(home: Path) -> Iterator[Console]:
    """``antiphon up`` over the store in ``home``, which it must neither shorten nor let grow old."""
    environment = {
        **os.environ, "ANTIPHON_HOME": str(home), "ANTIPHON_LOG_LEVEL": "warning", "ANTIPHON_RETENTION_MB": "100000",
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "antiphon.runtime.cli.main", "up", "--port", "0", "--until-eof"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Console(address=process.stdout.readline().partition(": ")[2].strip(), pid=process.pid)
    finally:
        process.stdin.close()
        process.wait(LIMIT_S)
