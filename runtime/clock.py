"""Time, passed in rather than looked up, so that logic can be tested without waiting."""

import asyncio
import time
from typing import Final, Protocol


class Clock(Protocol):
    """Where time comes from."""

    def unix_ns(self) -> int:
        """Nanoseconds since the epoch: for records."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never go back: for durations and timeouts."""
        ...


class SystemClock:
    """The machine's clocks."""

    def unix_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return time.time_ns()

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()


_MACHINE: Final = SystemClock()


class LoopClock:
    """The clock of the event loop that runs: its own where it has one, as a loop with virtual time does, else ours."""

    def unix_ns(self) -> int:
        """Nanoseconds since the epoch. Raises RuntimeError outside an event loop, as ``monotonic_s`` does."""
        return _clock_of(asyncio.get_running_loop()).unix_ns()

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        return _clock_of(asyncio.get_running_loop()).monotonic_s()


def _clock_of(loop: asyncio.AbstractEventLoop) -> Clock:
    clock: Clock = getattr(loop, "clock", _MACHINE)
    return clock
