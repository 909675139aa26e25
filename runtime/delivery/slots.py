"""How many handlers of one agent may run at once on one node, and who waits for a slot."""

import asyncio
from collections import deque

from antiphon.runtime.errors import Busy

SMOOTH = 0.2  # the share of the newest interval in the average


class Slots:
    """Free slots with a first-come-first-served mailbox in front.

    Asks wait in the mailbox, at most ``limit`` of them; durable work is fetched only into slots that are free
    after them, and then bounded by who holds it.
    """

    __slots__ = ("_free", "_pace_s", "_since_s", "_waiting", "active", "agent", "capacity", "idle", "limit")

    def __init__(self, agent: str, capacity: int, limit: int) -> None:
        self.agent = agent
        self.capacity = capacity
        self.limit = limit
        self.active = 0
        self.idle = 0  # runs that wait for something else, without a slot
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._free = asyncio.Event()
        self._free.set()
        self._since_s = 0.0  # by the event loop's clock: when all slots were taken, or the last one changed hands
        self._pace_s = 0.0  # how often a slot became free of late while all were taken; 0: not known yet

    @property
    def free(self) -> int:
        """Slots nobody has: none while more run than there are slots, because they were made fewer."""
        return max(0, self.capacity - self.active)

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
            if self.active >= self.capacity:
                self._free.clear()
                self._since_s = asyncio.get_running_loop().time()
            return
        if not held and len(self._waiting) >= self.limit:
            retry_after_s = self.retry_after_s()
            raise Busy(
                f"agent {self.agent!r} has {self.capacity} running and {len(self._waiting)} waiting on this node: "
                f"try again in about {retry_after_s:.2g} s, add nodes, or submit a durable task",
                agent=self.agent,
                retry_after_s=f"{retry_after_s:.3f}",
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

    def retry_after_s(self) -> float:
        """How long those who wait now will need, by the recent pace; before the first slot was given back, a guess.

        Little's law: each of them waits for one slot, and a slot becomes free every ``_pace_s``.
        """
        pace_s = self._pace_s or asyncio.get_running_loop().time() - self._since_s
        return max(0.001, (len(self._waiting) + 1) * pace_s)

    def release(self) -> None:
        """Give a slot back; the longest waiting gets it at once, unless there are fewer slots now."""
        if self.active > self.capacity:
            self.active -= 1
            return
        if self.active == self.capacity:
            now_s = asyncio.get_running_loop().time()
            interval_s = now_s - self._since_s
            self._pace_s = interval_s if not self._pace_s else self._pace_s + SMOOTH * (interval_s - self._pace_s)
            self._since_s = now_s
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.active -= 1
        self._free.set()

    def resize(self, capacity: int) -> None:
        """Have so many slots from now on: those who wait get what is new; whoever runs beyond it runs to its end."""
        self.capacity = capacity
        self._pace_s = 0.0  # of another number of slots
        while self._waiting and self.active < capacity:
            turn = self._waiting.popleft()
            if not turn.done():
                self.active += 1
                turn.set_result(None)
        if self.active < capacity:
            self._free.set()
        else:
            self._free.clear()
            self._since_s = asyncio.get_running_loop().time()

    async def wait_free(self) -> None:
        """Return when at least one slot is free."""
        while self.active >= self.capacity:  # somebody else may take it before this task runs
            await self._free.wait()


class Slot:
    """One run's right to a slot: given back while the run waits, taken again when it goes on."""

    __slots__ = ("_idle", "_pool", "_taking", "held")

    def __init__(self, pool: Slots) -> None:
        self._pool = pool
        self._taking: asyncio.Lock | None = None
        self._idle = False
        self.held = False

    @property
    def idle_runs(self) -> int:
        """How many runs of the pool wait without a slot, in memory."""
        return self._pool.idle

    async def take(self) -> None:
        """Return when the slot is ours; at once if it is."""
        if self.held:
            return
        if self._taking is None:
            self._taking = asyncio.Lock()
        async with self._taking:  # several branches of one run may wake together; it has one slot
            if not self.held:
                await self._pool.acquire(held=True)
                self.held = True
                self._set_idle(False)

    def give(self) -> None:
        """Let others have it while this run waits. Idempotent."""
        if self.held:
            self.held = False
            self._set_idle(True)
            self._pool.release()

    def close(self) -> None:
        """The run has ended, whether it had its slot or not. Idempotent."""
        self.give()
        self._set_idle(False)

    def _set_idle(self, idle: bool) -> None:
        self._pool.idle += idle - self._idle
        self._idle = idle
