"""One writer a file: an exclusive ``flock`` that the kernel releases however the process ends."""

import fcntl
import os
from pathlib import Path

from antiphon.runtime.errors import ConfigurationError


class WriterLock:
    """Held from construction to ``release``.

    Raises:
        ConfigurationError: another process holds it; the message names the file and the process.
    """

    def __init__(self, store: Path) -> None:
        self._path = store.with_name(store.name + ".lock")
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(self._fd, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise ConfigurationError(
                f"the store {store} is already being written by process {owner}; expected one writer: "
                "use that console, or stop it first",
                path=store,
                pid=owner,
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the next writer in. The lock file stays: removing it would race with one who waits."""
        os.close(self._fd)
