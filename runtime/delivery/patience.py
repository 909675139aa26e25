"""When a reader asks the nodes for what it misses, and when it waits no longer. Pure."""

from typing import NamedTuple

from antiphon.schemas.task import Position

ASK_S = 0.2  # between two requests: an answer takes milliseconds, and may be a megabyte
GIVE_UP_S = 0.6  # no node has what is missing: each was asked three times
IDLE_S = 1.0  # a stream that is silent this long is asked whether that is so: the connection may have been away
IDLE_MAX_S = 16.0  # a silent stream is asked ever less often, down to this


class Move(NamedTuple):
    """What to do now, and when to look again at the latest."""

    ask: bool
    give_up: bool
    wait_s: float


class Patience:
    """``start_s``: now, in seconds that never go back."""

    def __init__(self, start_s: float) -> None:
        self._position: Position | None = None
        self._moved_s = start_s
        self._missing_s: float | None = None
        self._asked_s = float("-inf")
        self._idle_s = IDLE_S

    def next(self, now_s: float, position: Position, *, missing: bool, behind: bool) -> Move:
        """``missing``: something is known to be missing. ``behind``: something may be, ask soon."""
        if position != self._position:
            self._position, self._moved_s, self._idle_s = position, now_s, IDLE_S
        if not missing:
            self._missing_s = None
        elif self._missing_s is None:
            self._missing_s = now_s
        if self._missing_s is not None:
            late_s = max(self._missing_s, self._moved_s) + GIVE_UP_S
            if now_s >= late_s:
                self._missing_s = None
                return Move(ask=False, give_up=True, wait_s=0.0)
        else:
            late_s = float("inf")
        hurry = missing or behind
        due_s = self._asked_s + ASK_S if hurry else max(self._asked_s, self._moved_s) + self._idle_s
        if now_s < due_s:
            return Move(ask=False, give_up=False, wait_s=min(due_s, late_s) - now_s)
        self._asked_s = now_s
        if not hurry:
            self._idle_s = min(2 * self._idle_s, IDLE_MAX_S)
        return Move(ask=True, give_up=False, wait_s=min(ASK_S if hurry else self._idle_s, late_s - now_s))
