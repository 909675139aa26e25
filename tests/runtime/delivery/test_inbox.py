"""Batches that wait for a slow reader."""

import asyncio

from antiphon.runtime.bus.base import Delivery
from antiphon.runtime.delivery.inbox import INBOX_BYTES, Inbox


async def test_it_is_bounded_and_says_what_it_refused() -> None:
    """The oldest stay in order, the rest is left to the nodes; room that is made is used again."""
    inbox = Inbox()
    body = bytes(INBOX_BYTES // 4)
    for _ in range(4):
        await inbox.receive(Delivery("s", body))
    assert inbox.refused
    taken = 0
    while inbox.take() is not None:
        taken += 1
    assert taken == 3
    inbox.refused = False
    await inbox.receive(Delivery("s", b"next"))
    assert (inbox.take(), inbox.refused) == (b"next", False)


async def test_waiting_ends_with_a_batch_a_bell_or_the_time() -> None:
    """Nobody sleeps through what has come before, and nobody waits for ever."""
    inbox = Inbox()
    await inbox.receive(Delivery("s", b"a"))
    async with asyncio.timeout(30):
        await inbox.wait(60)
        inbox.ring()
        await inbox.wait(60)
        await inbox.wait(0.01)
