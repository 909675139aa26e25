"""How often two ways of doing something gave the same result, and how sure that is."""

import math
from collections import deque

KEEP = 1_000  # the newest comparisons: models and inputs drift
Z = 1.96  # two-sided 95 %


class Agreement:
    """Compared results, one by one."""

    def __init__(self) -> None:
        self._equal: deque[bool] = deque(maxlen=KEEP)

    def note(self, equal: bool) -> None:
        """One more comparison."""
        self._equal.append(equal)

    @property
    def compared(self) -> int:
        """Comparisons that count."""
        return len(self._equal)

    @property
    def equal(self) -> int:
        """Those that gave the same."""
        return sum(self._equal)

    def bounds(self) -> tuple[float, float]:
        """Low and high end of the true share of equal results (Wilson's score interval, 95 %); (0, 1) without any."""
        n = self.compared
        if not n:
            return 0.0, 1.0
        share, z2 = self.equal / n, Z * Z
        centre = share + z2 / (2 * n)
        spread = Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
        return max((centre - spread) / (1 + z2 / n), 0.0), min((centre + spread) / (1 + z2 / n), 1.0)
