"""News for open pages: numbered events, a bounded memory of them, and readers that may not fall behind."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from antiphon.runtime.clock import Clock
from antiphon.runtime.errors import Busy
from antiphon.runtime.store.runs import Run
from antiphon.runtime.store.sqlite import Written
from antiphon.schemas.finding import Finding

KEPT = 512  # events a reader who comes back can catch up on
WAITING = 128  # events one reader may be behind, besides those it came to catch up on
READERS = 32
COALESCE_S = 0.25  # the store writes ten times a second, eyes do not read that fast
RUNS_NAMED = 50
HEARTBEAT_S = 15.0


@dataclass(frozen=True, slots=True)
class Event:
    """What happened: ``runs`` (touched runs and number of spans), ``findings`` (ids), ``reset`` (load anew)."""

    id: int
    kind: str
    data: str

    def encode(self) -> str:
        """As server-sent events write it; JSON has no line breaks to escape."""
        return f"id: {self.id}\nevent: {self.kind}\ndata: {self.data}\n\n"


class LiveFeed:
    """Listens to the store's writer, on its event loop. Ids grow over restarts, because they begin at the clock."""

    def __init__(self, clock: Clock, *, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._next = clock.unix_ns() // 1_000_000
        self._heartbeat_s = heartbeat_s
        self._kept: deque[Event] = deque(maxlen=KEPT)
        self._readers: set[asyncio.Queue[Event | None]] = set()
        self._runs: dict[str, Run] = {}
        self._spans = 0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def readers(self) -> int:
        """Pages that listen now."""
        return len(self._readers)

    def written(self, written: Written) -> None:
        """Tell of touched runs, at most four times a second."""
        if not written.spans:
            return
        self._spans += written.spans
        self._runs.update((run.run, run) for run in written.runs if not run.obs)
        if self._timer is None and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(COALESCE_S, self._tell_runs)

    def found(self, findings: Sequence[Finding]) -> None:
        """Tell of findings."""
        self.publish("findings", {"findings": [item.id for item in findings[:RUNS_NAMED]]})

    def publish(self, kind: str, data: object) -> None:
        """Number an event, keep it, hand it out. A reader too far behind is let go."""
        event = Event(self._next, kind, json.dumps(data))
        self._next += 1
        self._kept.append(event)
        for reader in list(self._readers):
            try:
                reader.put_nowait(event)
            except asyncio.QueueFull:
                self._let_go(reader)

    def read(self, after: int | None) -> AsyncGenerator[str, None]:
        """Encoded events after the one numbered ``after`` (None: from now on), and comments while nothing happens.

        Raises:
            Busy: as many readers as allowed are there.
        """
        if len(self._readers) >= READERS:
            raise Busy(f"{READERS} pages are already listening; close one")
        return self._stream(after)

    def close(self) -> None:
        """End every reader. Idempotent."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for reader in list(self._readers):
            self._let_go(reader)

    async def _stream(self, after: int | None) -> AsyncGenerator[str, None]:
        reader: asyncio.Queue[Event | None] = asyncio.Queue(KEPT + WAITING)
        for missed in self._missed(after):
            reader.put_nowait(missed)
        if self._closed:
            reader.put_nowait(None)
        try:
            self._readers.add(reader)
            yield "retry: 2000\n\n"
            while True:
                try:
                    async with asyncio.timeout(self._heartbeat_s):
                        event = await reader.get()
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                if event is None:
                    return
                yield event.encode()
        finally:
            self._readers.discard(reader)

    def _missed(self, after: int | None) -> list[Event]:
        if after is None or after == self._next - 1:
            return []
        first = self._kept[0].id if self._kept else self._next
        if first - 1 <= after < self._next:
            return [event for event in self._kept if event.id > after]
        return [Event(self._next - 1, "reset", "{}")]

    def _tell_runs(self) -> None:
        self._timer = None
        named = [
            {"run": run.run, "title": run.entry.title, "status": run.entry.status, "spans": run.spans}
            for run in list(self._runs.values())[-RUNS_NAMED:]
        ]
        self.publish("runs", {"spans": self._spans, "touched": len(self._runs), "runs": named})
        self._runs.clear()
        self._spans = 0

    def _let_go(self, reader: asyncio.Queue[Event | None]) -> None:
        self._readers.discard(reader)
        while not reader.empty():
            reader.get_nowait()
        reader.put_nowait(None)
