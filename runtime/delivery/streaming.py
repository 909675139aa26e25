"""Chunks of a running task: numbered, coalesced, with an explicit end."""

import asyncio

from antiphon.runtime.delivery.stream_buffers import StreamBuffers
from antiphon.runtime.errors import MessageTooLarge
from antiphon.schemas.task import Progress, StreamBatch, StreamEnd, StreamItem, TaskState, Token

COALESCE_S = 0.03  # 20 to 50 ms: below what a reader notices, above what a broker message per token costs
MAX_ITEMS = 256  # a batch that is full goes out at once
BATCH_CHARS = 32 << 10  # and so does one with this much text: six times as many bytes at worst, when all is escaped
ITEM_CHARS = 96 << 10  # with a full batch before it still below what a broker carries (1 MiB)


class Emitter:
    """One attempt's way to its readers, between a claim of the task and the end, failure or parking of it.

    ``starts`` has one number for each attempt, this one included: what ``shown`` was when it began (the first: 0). An
    attempt begins whenever work is done again that may have been shown: after a crash, a failure or a drain, not after
    a wake-up. ``shown`` is what it was when the journal was last written: numbers go on from there.
    """

    def __init__(
        self, buffers: StreamBuffers, task: str, run: str, *, starts: tuple[int, ...] = (0,), shown: int = 0
    ) -> None:
        self._buffers = buffers
        self._task = task
        self._run = run
        self._starts = starts
        self._n = shown
        self._items: list[StreamItem] = []
        self._chars = 0
        self._sealed = 0
        self._timer: asyncio.Task[None] | None = None

    @property
    def shown(self) -> int:
        """How many items the task has shown so far: for the journal, with every append.

        An item that was counted grows no more, so that the same number means the same text to every reader.
        """
        self._sealed = len(self._items)
        return self._n + self._sealed

    async def emit(self, item: Token | Progress) -> None:
        """Show ``item`` within COALESCE_S. Readers are never waited for, and a bus that is away does not fail the work.

        Raises:
            MessageTooLarge: the item alone is more than a batch should carry.
        """
        size = len(item.text) if isinstance(item, Token) else len(item.model_dump_json())
        if size > ITEM_CHARS:
            raise MessageTooLarge(
                f"an emitted item of {size} characters, at most {ITEM_CHARS} can be streamed: emit smaller pieces, "
                "or return it as part of the result",
                size=size,
                limit=ITEM_CHARS,
            )
        last = self._items[-1] if len(self._items) > self._sealed else None
        if isinstance(item, Token) and isinstance(last, Token):
            self._items[-1] = Token(text=last.text + item.text)
        else:
            self._items.append(item)
        self._chars += size
        if len(self._items) >= MAX_ITEMS or self._chars >= BATCH_CHARS:
            await self._flush()
        elif self._timer is None:
            self._timer = asyncio.create_task(self._later())

    async def leave(self) -> None:
        """This node has done with the task for now: it failed, was parked or is handed back. What waits goes out."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._flush()
        self._buffers.leave(self._task)

    async def end(self, state: TaskState) -> int:
        """Nothing follows: readers fetch the result. How many items the task has shown, for its result.

        A task that showed nothing has no stream to end.
        """
        shown = self.shown
        if shown > 0:
            self._items.append(StreamEnd(state=state))
        await self.leave()
        return shown

    async def _later(self) -> None:
        await asyncio.sleep(COALESCE_S)
        self._timer = None
        await self._flush()

    async def _flush(self) -> None:
        items, self._items, self._sealed, self._chars = tuple(self._items), [], 0, 0
        if not items:
            return
        first, self._n = self._n, self._n + len(items)
        batch = StreamBatch(task=self._task, attempt=len(self._starts), starts=self._starts, n=first, items=items)
        await self._buffers.show(batch, self._run)
