"""A look at one thing that may be wrong, and what came of it."""

import asyncio
import queue
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

from antiphon.runtime.errors import AntiphonError

T = TypeVar("T")
# For the threads of a check that has answered. Python's exit stops a thread where it is, and one that is just freeing
# a model's tensors then aborts the process (pthread_exit through C++), as two of six doctors did.
_END_S: Final = 2.0


class Status(StrEnum):
    """How something is."""

    OK = "ok"
    WARN = "warn"  # works, or is not needed; a person should know
    FAIL = "fail"  # something will not work


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found about one thing, and what to do about it."""

    name: str
    status: Status = Status.OK
    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """``look`` has ``deadline_s``. ``otherwise`` is the status when it raises or is not done in time."""

    name: str
    look: Callable[[], Awaitable[Sequence[Verdict]]]
    deadline_s: float = 5.0
    otherwise: Status = Status.FAIL


def examine(checks: Sequence[Check]) -> Iterator[Verdict]:
    """Everything that the checks find, in their order; all begin at once.

    Each has a thread and an event loop of its own, so that one that hangs, swallows its cancellation or blocks its
    loop holds up nobody: it is left behind, and the process can end without it.
    """
    begun = [(check, *_begin(check)) for check in checks]
    start_s = time.monotonic()
    for check, answers, thread in begun:
        left_s = max(0.0, start_s + check.deadline_s - time.monotonic())
        try:
            yield from answers.get(timeout=left_s)
            thread.join(_END_S)
        except queue.Empty:
            yield Verdict(
                name=check.name,
                status=check.otherwise,
                found=f"no answer in {check.deadline_s:g} s",
                advice="something that it needs hangs: the network, a disk, or a machine that is too busy",
            )


def _begin(check: Check) -> "tuple[queue.SimpleQueue[Sequence[Verdict]], threading.Thread]":
    answers: queue.SimpleQueue[Sequence[Verdict]] = queue.SimpleQueue()
    jobs = _LeftBehind()

    async def work() -> None:
        asyncio.get_running_loop().set_default_executor(jobs)
        try:
            answers.put(await check.look())
        except Exception as error:  # whatever a dependency raises is what the check was made for
            found = error.message if isinstance(error, AntiphonError) else f"{type(error).__name__}: {error}"
            answers.put([Verdict(name=check.name, status=check.otherwise, found=found)])

    def begin() -> None:
        asyncio.run(work())
        jobs.join()

    thread = threading.Thread(target=begin, name=f"check-{check.name}", daemon=True)
    thread.start()
    return answers, thread


class _LeftBehind(ThreadPoolExecutor):
    """A daemon thread for each job: Python waits at its exit for those of the standard pool (a name looked up, say)."""

    def __init__(self) -> None:
        super().__init__()
        self._begun: list[threading.Thread] = []

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Begin at once."""
        future: Future[T] = Future()

        def work() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        thread = threading.Thread(target=work, daemon=True)
        self._begun.append(thread)
        thread.start()
        return future

    def join(self) -> None:
        """Wait for all jobs."""
        for thread in self._begun:
            thread.join()
