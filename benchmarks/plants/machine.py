"""What the host of a virtual machine keeps back, without which a figure of the wall clock says little."""

from pathlib import Path
from typing import Final

QUIET: Final = 0.05  # of the time asked for
_STAT: Final = Path("/proc/stat")


class Stolen:
    """Counts from when it is made. Linux only: elsewhere nothing is known."""

    def __init__(self) -> None:
        self._begin = _times()

    def share(self) -> float | None:
        """Of the processor time that was asked for since, how much the host gave to others."""
        end = _times()
        if self._begin is None or end is None:
            return None
        used, stolen = (after - before for before, after in zip(self._begin, end, strict=True))
        return stolen / (used + stolen) if used + stolen else 0.0


def _times() -> tuple[int, int] | None:
    """Ticks used by everything, and ticks stolen (proc(5): user, nice, system, idle, iowait, irq, softirq, steal)."""
    if not _STAT.exists():
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, _STAT.read_text().split("\n", 1)[0].split()[1:9])
    return user + nice + system + irq + softirq, steal
