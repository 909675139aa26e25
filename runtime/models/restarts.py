"""When a process that ended may be started again: at once, then later and later, then not for a while. Pure."""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Intensity:
    """Seconds. ``most`` failures in ``within_s`` are too many: then nothing is tried for ``rest_s``."""

    most: int = 5
    within_s: float = 60.0
    rest_s: float = 30.0
    first_wait_s: float = 0.25
    longest_wait_s: float = 8.0


class Restarts:
    """Counts failures. After a rest each attempt is a last one, until the earlier failures are ``within_s`` old."""

    def __init__(self, intensity: Intensity) -> None:
        self.total = 0
        self._intensity = intensity
        self._failures: deque[float] = deque(maxlen=intensity.most)

    def failed(self, now_s: float) -> None:
        """The process ended by itself."""
        self.total += 1
        self._failures.append(now_s)

    def wait_s(self, now_s: float) -> float:
        """Before the next start: nothing after the first failure, then twice as long each time."""
        recent = self._recent(now_s)
        return min(self._intensity.first_wait_s * 2.0 ** (recent - 2), self._intensity.longest_wait_s) * (recent > 1)

    def rest_s(self, now_s: float) -> float:
        """How long nothing is to be tried, since there were too many failures; mostly 0."""
        if self._recent(now_s) < self._intensity.most:
            return 0.0
        return max(0.0, self._failures[-1] + self._intensity.rest_s - now_s)

    def _recent(self, now_s: float) -> int:
        return sum(failed_s > now_s - self._intensity.within_s for failed_s in self._failures)
