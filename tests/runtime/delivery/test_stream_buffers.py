"""A node answers readers who missed something."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from antiphon.runtime.bus.base import Delivery
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.delivery.payload import decode, encode
from antiphon.runtime.delivery.stream_buffers import StreamBuffers
from antiphon.runtime.testing import MemoryBus
from antiphon.schemas.task import ResumeStream, StreamBatch, Token

ASK = "antiphon.default.control.stream.t"


@pytest.fixture
async def bus() -> AsyncGenerator[MemoryBus, None]:
    """A bus of its own."""
    found = MemoryBus()
    yield found
    await found.close()


def batch(n: int) -> StreamBatch:
    """One token."""
    return StreamBatch(task="t", attempt=1, n=n, items=(Token(text=str(n)),))


async def test_a_request_is_answered_with_the_batches_behind_a_position(bus: MemoryBus) -> None:
    """In order, to the reply subject, as they were shown."""
    buffers = StreamBuffers(bus, SystemClock(), "default")
    await buffers.start()
    for n in range(4):
        await buffers.show(batch(n), "r")
    answers: asyncio.Queue[Delivery] = asyncio.Queue()
    await bus.subscribe("answers", answers.put)
    await bus.publish(ASK, encode(ResumeStream(attempt=1, n=2)), reply="answers")
    async with asyncio.timeout(60):
        found = [decode(StreamBatch, (await answers.get()).body) for _ in range(2)]
    assert found == [batch(2), batch(3)]
    await buffers.stop()
    await buffers.stop()


@pytest.mark.parametrize(("body", "reply"), [(b"{", "answers"), (b"{}", "")])
async def test_a_bad_request_harms_nobody(bus: MemoryBus, body: bytes, reply: str) -> None:
    """It is logged; the next reader is answered."""
    buffers = StreamBuffers(bus, SystemClock(), "default")
    await buffers.start()
    await buffers.show(batch(0), "r")
    answers: asyncio.Queue[Delivery] = asyncio.Queue()
    await bus.subscribe("answers", answers.put)
    await bus.publish(ASK, body, reply=reply)
    await bus.publish(ASK, encode(ResumeStream()), reply="answers")
    async with asyncio.timeout(60):
        assert decode(StreamBatch, (await answers.get()).body) == batch(0)
    assert answers.empty()
    await buffers.stop()
