"""What an attempt shows: coalesced, numbered, with an explicit end."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from antiphon.runtime.bus.base import Delivery
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.delivery.payload import decode
from antiphon.runtime.delivery.stream_buffers import StreamBuffers
from antiphon.runtime.delivery.streaming import BATCH_CHARS, ITEM_CHARS, MAX_ITEMS, Emitter
from antiphon.runtime.errors import MessageTooLarge
from antiphon.runtime.testing import MemoryBus, MemoryServer
from antiphon.schemas.task import Progress, StreamBatch, StreamEnd, TaskState, Token

END = StreamEnd(state=TaskState.SUCCEEDED)


class Screen:
    """Whoever listens to the task ``t``."""

    def __init__(self) -> None:
        self.bus = MemoryBus(MemoryServer())
        self.buffers = StreamBuffers(self.bus, SystemClock(), "default")
        self.batches: list[StreamBatch] = []
        self._more = asyncio.Condition()

    async def receive(self, delivery: Delivery) -> None:
        """Take a batch."""
        async with self._more:
            self.batches.append(decode(StreamBatch, delivery.body))
            self._more.notify_all()

    async def wait_for(self, count: int) -> list[StreamBatch]:
        """The batches, once there are as many."""
        async with asyncio.timeout(60), self._more:
            await self._more.wait_for(lambda: len(self.batches) >= count)
        return self.batches


@pytest.fixture
async def screen() -> AsyncGenerator[Screen, None]:
    """One listener on a bus of its own."""
    found = Screen()
    await found.bus.subscribe("antiphon.default.stream.t", found.receive)
    yield found
    await found.bus.close()


async def test_text_runs_together_and_progress_does_not(screen: Screen) -> None:
    """Tokens in a row become one; the batch says which attempt it is of, and where each attempt began."""
    emitter = Emitter(screen.buffers, "t", "r", starts=(0, 4), shown=4)
    for item in (Token(text="a"), Token(text="b"), Progress(value=1), Token(text="c")):
        await emitter.emit(item)
    assert await emitter.end(TaskState.SUCCEEDED) == 7
    (batch,) = await screen.wait_for(1)
    assert (batch.attempt, batch.starts, batch.n, batch.task) == (2, (0, 4), 4, "t")
    assert batch.items == (Token(text="ab"), Progress(value=1), Token(text="c"), END)


async def test_chunks_go_out_by_themselves(screen: Screen) -> None:
    """A handler that emits and then thinks for long does not keep its readers waiting."""
    emitter = Emitter(screen.buffers, "t", "r")
    await emitter.emit(Token(text="a"))
    (batch,) = await screen.wait_for(1)
    assert batch.items == (Token(text="a"),)


async def test_a_full_batch_goes_out_at_once_and_numbers_go_on(screen: Screen) -> None:
    """Memory is bounded, and a reader can count what is missing."""
    emitter = Emitter(screen.buffers, "t", "r")
    for n in range(MAX_ITEMS + 1):
        await emitter.emit(Progress(value=n))
    await emitter.end(TaskState.SUCCEEDED)
    batches = await screen.wait_for(2)
    assert [(batch.n, len(batch.items)) for batch in batches] == [(0, MAX_ITEMS), (MAX_ITEMS, 2)]


async def test_much_text_goes_out_at_once_and_too_much_is_refused(screen: Screen) -> None:
    """No batch outgrows what the bus carries, whatever the characters; the error says size and limit."""
    emitter = Emitter(screen.buffers, "t", "r")
    await emitter.emit(Token(text="\x01" * (BATCH_CHARS - 1)))
    await emitter.emit(Progress(value="x" * (ITEM_CHARS - 100)))
    await emitter.emit(Token(text="\x01" * ITEM_CHARS))
    assert [len(batch.items) for batch in await screen.wait_for(2)] == [2, 1]
    with pytest.raises(MessageTooLarge, match=str(ITEM_CHARS)):
        await emitter.emit(Progress(value="x" * ITEM_CHARS))
    assert await emitter.end(TaskState.SUCCEEDED) == 3


async def test_what_was_counted_grows_no_more(screen: Screen) -> None:
    """A number that went into the journal means the same text ever after."""
    emitter = Emitter(screen.buffers, "t", "r")
    await emitter.emit(Token(text="a"))
    assert emitter.shown == 1
    await emitter.emit(Token(text="b"))
    await emitter.emit(Token(text="c"))
    assert emitter.shown == 2
    await emitter.leave()
    (batch,) = await screen.wait_for(1)
    assert batch.items == (Token(text="a"), Token(text="bc"))
    assert emitter.shown == 2


async def test_a_task_that_showed_nothing_sends_nothing(screen: Screen) -> None:
    """Most tasks emit nothing and must not pay for it; a retry of one that did ends what was begun."""
    assert await Emitter(screen.buffers, "t", "r").end(TaskState.SUCCEEDED) == 0
    assert await Emitter(screen.buffers, "t", "r", starts=(0, 2), shown=2).end(TaskState.FAILED) == 2
    (batch,) = await screen.wait_for(1)
    assert (batch.n, batch.items) == (2, (StreamEnd(state=TaskState.FAILED),))


async def test_a_bus_that_is_gone_does_not_fail_the_work(screen: Screen) -> None:
    """A stream is a courtesy to readers; the stored outcome is what counts."""
    emitter = Emitter(screen.buffers, "t", "r")
    await emitter.emit(Token(text="a"))
    await screen.bus.close()
    await emitter.end(TaskState.SUCCEEDED)
