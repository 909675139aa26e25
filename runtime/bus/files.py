"""What the embedded server keeps beside its store: locks, and small private files that may be missing or damaged."""

import fcntl
import os
import re
import secrets
import time
from pathlib import Path

from antiphon.runtime.errors import BusUnavailable

POLL_S = 0.005
_LOCK_S = 30.0  # another command starts the servers (a cluster elects its leader), or their guards stop them


def lock(path: Path, kind: int) -> int:
    """An open file with the lock; closing it gives the lock up. Raises BusUnavailable, OSError."""
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
            time.sleep(POLL_S)
        except OSError:
            os.close(file)
            raise


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock now."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def token_of(folder: Path) -> str:
    """The token of the folder's servers; made when it is missing or damaged."""
    token = read(folder / "token").strip()
    if not re.fullmatch(r"[0-9a-f]{48}", token):
        token = secrets.token_hex(24)
        write_private(folder / "token", token)
    return token


def write_private(path: Path, text: str) -> None:
    """Whole or not at all, readable by its owner only."""
    part = path.with_suffix(".part")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    part.replace(path)


def read(path: Path) -> str:
    """The text, or nothing when the file is missing."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
