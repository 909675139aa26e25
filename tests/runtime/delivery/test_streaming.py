"""What an attempt shows: coalesced, numbered, with an explicit end."""

import asyncio

from antiphon.runtime.bus.base import Delivery
from antiphon.runtime.delivery.payload import decode
from antiphon.runtime.delivery.streaming import MAX_ITEMS, Emitter
from antiphon.runtime.testing import MemoryBus, MemoryServer
from antiphon.schemas.task import Progress, StreamBatch, StreamEnd, TaskState, Token


async def shown(*items: Token | Progress) -> list[StreamBatch]:
    """The batches that arrive when these are emitted at once."""
    bus = MemoryBus(MemoryServer())
    found: list[StreamBatch] = []
    ended = asyncio.Event()

    async def receive(delivery: Delivery) -> None:
        found.append(decode(StreamBatch, delivery.body))
        if isinstance(found[-1].items[-1], StreamEnd):
            ended.set()

    await bus.subscribe("antiphon.default.stream.t", receive)
    emitter = Emitter(bus, "default", "t", "r", 2)
    for item in items:
        await emitter.emit(item)
    await emitter.end(TaskState.SUCCEEDED)
    await asyncio.wait_for(ended.wait(), 2)
    await bus.close()
    return found


async def test_text_runs_together_and_progress_does_not() -> None:
    """Tokens in a row become one; the batch says which attempt it is of."""
    (batch,) = await shown(Token(text="a"), Token(text="b"), Progress(value=1), Token(text="c"))
    assert (batch.attempt, batch.n, batch.task) == (2, 0, "t")
    end = StreamEnd(state=TaskState.SUCCEEDED)
    assert batch.items == (Token(text="ab"), Progress(value=1), Token(text="c"), end)


async def test_a_full_batch_goes_out_at_once_and_numbers_go_on() -> None:
    """Memory is bounded, and a reader can count what is missing."""
    batches = await shown(*(Progress(value=n) for n in range(MAX_ITEMS + 1)))
    assert [(batch.n, len(batch.items)) for batch in batches] == [(0, MAX_ITEMS), (MAX_ITEMS, 2)]


async def test_a_bus_that_is_gone_does_not_fail_the_work() -> None:
    """The end of a stream is a courtesy to readers; the stored outcome is what counts."""
    bus = MemoryBus(MemoryServer())
    emitter = Emitter(bus, "default", "t", "r", 1)
    await emitter.emit(Token(text="a"))
    await bus.close()
    await emitter.end(TaskState.SUCCEEDED)
