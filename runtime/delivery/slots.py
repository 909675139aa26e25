"""How many handlers of one agent may run at once on one node, and who waits for a slot."""

import asyncio
from collections import deque

from antiphon.runtime.errors import Busy


class Slots:
    """Free slots with a first-come-first-served mailbox in front.

    Asks wait in the mailbox, at most ``limit`` of them; durable work is fetched only into slots that are free
    after them, and then bounded by who holds it.
    """

    __slots__ = ("_free", "_waiting", "active", "agent", "capacity", "limit")

    def __init__(self, agent: str, capacity: int, limit: int) -> None:
        self.agent = agent
        self.capacity = capacity
        self.limit = limit
        self.active = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._free = asyncio.Event()
        self._free.set()

    @property
    def free(self) -> int:
        """Slots nobody has."""
        return self.capacity - self.active

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return len(self._waiting)

    async def acquire(self, *, held: bool = False) -> None:
        """Take a slot, in turn. ``held``: the work is leased already and may not be refused.

        Whoever returns from this must call ``release`` exactly once.

        Raises:
            Busy: the mailbox is full.
        """
        if self.active < self.capacity:
            self.active += 1
            if self.active == self.capacity:
                self._free.clear()
            return
        if not held and len(self._waiting) >= self.limit:
            raise Busy(
                f"agent {self.agent!r} has {self.capacity} running and {self.limit} waiting on this node: "
                "try again later, add nodes, or submit a durable task",
                agent=self.agent,
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.release()  # the slot was handed over in the same turn of the loop
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def release(self) -> None:
        """Give a slot back; the longest waiting gets it at once."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.active -= 1
        self._free.set()

    async def wait_free(self) -> None:
        """Return when at least one slot is free."""
        await self._free.wait()
