"""Time, passed in rather than looked up, so that logic can be tested without waiting."""

import time
from typing import Protocol


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
