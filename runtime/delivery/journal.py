"""The journal of one task in the hands of one worker: fenced appends, group commit, claims.

DESIGN section 4. Every append carries the sequence of the task's last one, so that a worker whose task was claimed by
another is refused and learns that it is stale. Appends are requests, repeated until the server has answered; the fence
lets only one of them in.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from antiphon.runtime.bus.base import Bus
from antiphon.runtime.bus.topology import JOURNAL
from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.bodies import INLINE_MAX, pack, unpack
from antiphon.runtime.delivery.history import Claim, History
from antiphon.runtime.delivery.journal_codec import decode_batch, encode_batch
from antiphon.runtime.errors import AntiphonError, BusUnavailable, Conflict, LeaseLost
from antiphon.schemas import subjects
from antiphon.schemas.envelope import FINAL
from antiphon.schemas.journal import Ended, Entry, EntryKind, JournalBatch
from antiphon.schemas.task import TaskState

RETRY_S = 10.0  # how long an append is repeated while the server is away; a restart takes about two
PAUSE_S = 0.1
MAX_BATCH = 262_144  # bytes of values in one append; larger values are blobs already
CLAIMS = 16  # of a claim against concurrent ones

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose journal it is, and under which message this worker holds the task."""

    tenant: str
    task: str
    run: str
    agent: str
    handler: str
    version: str
    origin: int
    node: str


async def read_history(bus: Bus, tenant: str, task: str) -> tuple[History, int]:
    """What the journal says, and the sequence of its last message (0: there is none). Raises BusError."""
    batches: list[JournalBatch] = []
    last = 0
    async for stored in bus.streams.read(JOURNAL.name, subjects.journal(tenant, task)):
        batches.append(decode_batch(await unpack(bus, stored.body, stored.headers)))
        last = stored.sequence
    return History.of(batches), last


class Journal:
    """Appends for one attempt. After ``lost`` is set nothing more goes in; ``on_lost`` is called once."""

    def __init__(self, bus: Bus, clock: Clock, owner: Owner, history: History | None = None, last: int = 0) -> None:
        self._bus = bus
        self._clock = clock
        self.owner = owner
        self.history = history or History()
        self.attempt = self.history.attempt
        self.lost: AntiphonError | None = None
        self.on_lost: Callable[[AntiphonError], None] | None = None
        self.shown: Callable[[], int] | None = None  # how much the task has emitted
        self._subject = subjects.journal(owner.tenant, owner.task)
        self._last = last
        self._waiting: list[tuple[Entry, asyncio.Future[None] | None]] = []
        self._writing: asyncio.Task[None] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever stored, here or by an earlier attempt."""
        return self._last == 0

    async def claim(self, *, wake: int, counts: bool) -> None:
        """Make every older worker stale.

        Raises:
            LeaseLost: others claim it all the time.
            BusError: the server did not answer.
        """
        value = Claim(node=self.owner.node, origin=self.owner.origin, wake=wake, counts=counts).encode()
        entry = Entry(kind=EntryKind.CLAIM, value=value, started_unix_ms=self._clock.unix_ns() // 1_000_000)
        for _ in range(CLAIMS):
            self.attempt = self.history.attempt + counts
            try:
                await self._append((entry,))
            except Conflict:
                self.history, self._last = await read_history(self._bus, self.owner.tenant, self.owner.task)
                continue
            self.history.take(entry)
            return
        raise LeaseLost(
            f"task {self.owner.task} is being claimed by others; this worker gives up", task=self.owner.task
        )

    def note(self, entry: Entry) -> None:
        """Have an entry ride on the next append."""
        self.history.entries[entry.path] = entry
        self._waiting.append((entry, None))

    async def commit(self, entry: Entry) -> None:
        """Store an entry, together with whatever else is waiting.

        Raises:
            LeaseLost: another worker has the task.
            BusError: it was not stored.
        """
        if self.lost is not None:
            raise self.lost
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, done))
        if self._writing is None:
            # Its own task: an operation that is cancelled must not leave an append half known.
            self._writing = asyncio.create_task(self._write())
        await done

    async def settled(self) -> None:
        """Return when no append is under way."""
        if self._writing is not None:
            await asyncio.wait([self._writing])

    async def finish(self, state: TaskState, *, ttl_s: float, ended: Ended | None = None) -> None:
        """Close the journal: one message with everything replaces the others, until ``ttl_s`` has passed.

        Sent, not confirmed: it is refused if another worker has the task, who closes it then, and one that is lost
        is made up for by the sweep (``journal_sweep.py``). Raises BusError.
        """
        await self.settled()
        entries = (*self.history.all, *(entry for entry, _ in self._waiting))
        self._waiting.clear()
        body, headers = await self._message(entries, state, ended)
        await self._bus.streams.offer(self._subject, body, headers, expected_last=self._last, rollup=True, ttl_s=ttl_s)

    async def _write(self) -> None:
        try:
            while any(done is not None for _, done in self._waiting):
                batch = self._take()
                try:
                    await self._append(tuple(entry for entry, _ in batch))
                except Exception as error:
                    # What this attempt did is not recorded, so that it cannot go on as if it were.
                    failure = self._lose(error) if isinstance(error, Conflict | BusUnavailable) else error
                    for _, done in batch:
                        if done is not None and not done.done():
                            done.set_exception(failure)
                    continue
                for entry, done in batch:
                    self.history.all.append(entry)
                    if done is not None and not done.done():
                        done.set_result(None)
        finally:
            self._writing = None

    def _take(self) -> list[tuple[Entry, "asyncio.Future[None] | None"]]:
        size = 0
        for index, (entry, _) in enumerate(self._waiting):
            size += len(entry.value) + sum(len(block) for block in (entry.blocks or {}).values())
            if size > MAX_BATCH and index:
                batch, self._waiting = self._waiting[:index], self._waiting[index:]
                return batch
        batch, self._waiting = self._waiting, []
        return batch

    def _lose(self, error: Conflict | BusUnavailable) -> AntiphonError:
        if self.lost is None:
            self.lost = error
            if isinstance(error, Conflict):
                self.lost = LeaseLost(
                    f"task {self.owner.task} was taken over by another worker; this one stops", task=self.owner.task
                )
            log.warning(
                "journal_lost",
                task=self.owner.task,
                attempt=self.attempt,
                node=self.owner.node,
                error=self.lost.message,
            )
            if self.on_lost is not None:
                self.on_lost(self.lost)
        return self.lost

    async def _message(
        self, entries: tuple[Entry, ...], state: TaskState | None = None, ended: Ended | None = None
    ) -> tuple[bytes, dict[str, str]]:
        owner = self.owner
        batch = JournalBatch(
            task=owner.task,
            run=owner.run,
            agent=owner.agent,
            handler=owner.handler,
            version=self.history.version or owner.version,
            origin=owner.origin,
            attempt=self.attempt,
            entries=entries,
            shown=self.history.shown if self.shown is None else self.shown(),
            state=state.value if state is not None else "",
            ended=ended,
        )
        body, headers = encode_batch(batch), {} if state is None else {FINAL: state.value}
        if len(body) <= INLINE_MAX:
            return body, headers
        return await pack(self._bus, body, headers, owner.tenant, owner.task)

    async def _append(self, entries: tuple[Entry, ...]) -> None:
        body, headers = await self._message(entries)
        give_up_s: float | None = None
        while True:
            try:
                self._last = await self._bus.streams.append(self._subject, body, headers, expected_last=self._last)
                return
            except Conflict:
                # Our own, whose confirmation was lost? No two workers write the same bytes: origin and attempt differ.
                stored = await self._bus.streams.last(self._subject) if give_up_s is not None else None
                if stored is None or stored.body != body:
                    raise
                self._last = stored.sequence
                return
            except BusUnavailable as error:
                give_up_s = give_up_s or self._clock.monotonic_s() + RETRY_S
                if self._clock.monotonic_s() >= give_up_s:
                    raise
                log.warning("journal_append_repeated", task=self.owner.task, error=error.message)
                await asyncio.sleep(PAUSE_S)
