"""Handlers by what the directory says of them."""

import asyncio

import pytest

from antiphon import Agent, Context, Message, System
from antiphon.runtime.described import REMEMBER_S, Described, card_of, handler_of, message_of
from antiphon.runtime.errors import InvalidMessage, UnknownAgent, UnknownHandler
from antiphon.runtime.testing import memory_system, virtual_time
from antiphon.schemas.identity import Address


class Sum(Message, version=2):
    numbers: list[int]


def agent(version: str, *names: str) -> Agent:
    """An agent with these handlers."""
    made = Agent("clerk", version=version)
    for name in names:

        async def handle(message: Sum, ctx: Context) -> Sum:
            return message

        handle.__name__ = name
        made.handles(handle)
    return made


ADD = Address("clerk", "add")


@virtual_time()
async def test_a_handler_without_its_class() -> None:
    """What is sent has the type and version of the card, so that the node takes it."""
    async with memory_system(System("s", agents=[agent("1", "add")])) as client:
        described = Described(client.host.directory, client.host.clock)
        card, handler = await described.find(ADD)
        assert (handler.input.message_name, handler.input.message_version) == ("Sum", 2)
        reply = await client.ask(handler, message_of(card, handler, {"numbers": [1, 2]}))
        assert reply.model_dump() == {"numbers": [1, 2]}
        assert (await described.find(ADD))[1] is handler


@virtual_time()
async def test_nobody_has_it() -> None:
    """The directory's own errors, which say what there is."""
    async with memory_system(System("s", agents=[agent("1", "add")])) as client:
        described = Described(client.host.directory, client.host.clock)
        with pytest.raises(UnknownHandler, match="it has: add"):
            await described.find(Address("clerk", "multiply"))
        with pytest.raises(UnknownAgent, match="known: clerk"):
            await described.find(Address("nobody", "add"))


@virtual_time()
async def test_what_is_remembered_is_remembered_for_a_second() -> None:
    """An agent that comes is found a second later at the latest."""
    async with memory_system(System("s", agents=[agent("1", "add")])) as client:
        described = Described(client.host.directory, client.host.clock)
        await described.find(ADD)
        other = Agent("other")
        await client.host.directory.register(other.card())
        assert [card.name for card in await described.agents()] == ["clerk"]
        await asyncio.sleep(REMEMBER_S)
        assert [card.name for card in await described.agents()] == ["clerk", "other"]


def test_the_newest_version_that_has_it_counts() -> None:
    """Where several are alive."""
    cards = [agent("1", "add", "multiply").card(), agent("2", "add").card()]
    assert card_of(ADD, cards) is cards[1].handlers[0]
    assert card_of(Address("clerk", "multiply"), cards) is cards[0].handlers[1]
    assert card_of(Address("writer", "add"), cards) is None


@pytest.mark.parametrize("body", [[], "x", None, {}, {"numbers": ["one"]}, {"numbers": [], "more": 1}])
def test_a_body_that_does_not_fit(body: object) -> None:
    """It is refused before it is sent, with the message's name."""
    card = agent("1", "add").card().handlers[0]
    with pytest.raises(InvalidMessage, match=r"^Sum: "):
        message_of(card, handler_of(ADD, card), body)


def test_much_that_is_wrong_is_cut_short() -> None:
    """Five things, and how many more there are."""
    card = agent("1", "add").card().handlers[0]
    with pytest.raises(InvalidMessage, match=r"numbers\.4.* \(and 45 more\)"):
        message_of(card, handler_of(ADD, card), {"numbers": ["x"] * 50})
