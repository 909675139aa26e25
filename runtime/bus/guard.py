"""Keeps one embedded server as long as somebody uses it. Run as a script, standard library only (small and quick).

    python -I -S guard.py USERS_LOCK SERVER_LOCK STARTUP_LOG COMMAND…

1. Take SERVER_LOCK for good; the server inherits it, so it is free only when both are dead: two servers on one store
   would run and diverge.
2. Fork; the first process exits, so that whoever started the guard has no child to wait for.
3. Start COMMAND as a child that dies with the guard (Linux: PR_SET_PDEATHSIG).
4. Block on the exclusive lock of USERS_LOCK. Users hold it shared; the kernel gives it up for one that was killed.
5. Holding it, stop the server: a newcomer waits at the lock until that is done and then starts anew.
"""

import ctypes
import fcntl
import os
import signal
import sys
import time
from types import FrameType

_TERM_S = 5.0
_PR_SET_PDEATHSIG = 1
BUSY = 3  # exit status: a server or guard already lives on this store


def main(users: str, server: str, log: str, *command: str) -> None:
    """The five steps above."""
    lock = os.open(server, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(BUSY)
    os.set_inheritable(lock, True)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    if os.fork():
        os._exit(0)
    for signum in (signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    os.dup2(output, 1)
    os.dup2(output, 2)
    _keep(users, command)


def _keep(users: str, command: tuple[str, ...]) -> None:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})
    child = os.fork()
    if not child:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        for signum in (signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD, signal.SIGTERM})
        os.execv(command[0], command)

    def ended(signum: int, frame: FrameType | None) -> None:
        if os.waitpid(child, os.WNOHANG)[0]:
            os._exit(0)  # the server is gone, so there is nothing to guard

    def asked(signum: int, frame: FrameType | None) -> None:
        _stop(child)

    signal.signal(signal.SIGCHLD, ended)
    signal.signal(signal.SIGTERM, asked)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD, signal.SIGTERM})
    fcntl.flock(os.open(users, os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_EX)
    _stop(child)


def _stop(child: int) -> None:
    """End the server, by force after five seconds, and this process with it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        os.kill(child, signal.SIGTERM)
        deadline = time.monotonic() + _TERM_S
        while time.monotonic() < deadline:
            if os.waitpid(child, os.WNOHANG)[0]:
                os._exit(0)
            time.sleep(0.005)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    except (ProcessLookupError, ChildProcessError):
        os._exit(0)  # it ended by itself
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
