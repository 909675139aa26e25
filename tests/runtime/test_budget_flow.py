"""A budget over a whole run: two agents on two nodes, one scripted model, one count."""

import asyncio

import pytest

from antiphon import Agent, Context, Handler, Message, System
from antiphon.runtime.errors import BudgetExceeded, ConfigurationError, DeadlineExceeded
from antiphon.runtime.models.scripted import ScriptedModel
from antiphon.runtime.policies.ledger import BUCKET
from antiphon.runtime.testing import MemoryServer, memory_system


class Note(Message):
    """A text."""

    text: str


def chatter() -> tuple[System, Handler[Note, Note], Handler[Note, Note]]:
    """``ramble`` has ``speak`` call the model until the budget says no; ``careful`` ends with what it has."""
    speaker, rambler = Agent("speaker"), Agent("rambler")

    @speaker.handles
    async def speak(note: Note, ctx: Context) -> Note:
        return Note(text=await ctx.model.generate(str, note.text, max_tokens=10))

    @rambler.handles
    async def ramble(note: Note, ctx: Context) -> Note:
        while True:
            await ctx.call(speak, note)

    @rambler.handles
    async def careful(note: Note, ctx: Context) -> Note:
        said: list[str] = []
        try:
            while True:
                said.append((await ctx.call(speak, note)).text)
        except BudgetExceeded as error:
            return Note(text=f"{len(said)} replies; {error.details['budget']} {error.details['used']}")

    return System("chatter", agents=[speaker, rambler]), ramble, careful


@pytest.mark.parametrize(
    ("budget", "calls", "says"),
    [
        ({"tokens": 60.0}, 6, "model smollm2-135m: the run may use 60 tokens, 54 are used or reserved"),
        ({"steps": 7.0}, 3, "model smollm2-135m: the run may use 7 steps, 7 are used or reserved"),
        ({"steps": 8.0, "tokens": 9_000}, 4, "call speaker.speak: the run may use 8 steps, 8 are used or reserved"),
    ],
)
async def test_the_run_stops_where_its_budget_ends(budget: dict[str, float], calls: int, says: str) -> None:
    """Children on both nodes spend from one account; the task fails with the overrun named, and is not retried."""
    system, ramble, _ = chatter()
    model, server = ScriptedModel(lambda request: "a reply of five words"), MemoryServer()
    async with memory_system(system, models={"smollm2-135m": model}, nodes=2, server=server) as client:
        task = await client.submit(ramble, Note(text="one two three four"), budget=budget)
        with pytest.raises(BudgetExceeded, match=says):
            await task.result(timeout_s=60)
        outcome = await task.outcome()
    assert outcome is not None
    assert (outcome.state, outcome.attempts) == ("failed", 1)
    assert len(model.requests) == calls
    assert server.stores[BUCKET].live == {}


async def test_a_handler_may_end_with_what_it_has() -> None:
    """The refusal is an error like others, in an ask as in a task; the run's account goes with its answer."""
    system, _, careful = chatter()
    model, server = ScriptedModel(lambda request: "a reply of five words"), MemoryServer()
    async with memory_system(system, models={"smollm2-135m": model}, nodes=2, server=server) as client:
        reply = await client.ask(careful, Note(text="one two three four"), budget={"tokens": 60})
    assert reply.text == "6 replies; tokens 54"
    assert server.stores[BUCKET].live == {}


async def test_wall_time_ends_the_run() -> None:
    """As a deadline, in whichever handler the run is then."""
    waiter = Agent("waiter")

    @waiter.handles
    async def wait(note: Note, ctx: Context) -> Note:
        await asyncio.Event().wait()
        return note

    async with memory_system(System("s", agents=[waiter])) as client:
        task = await client.submit(wait, Note(text="x"), budget={"wall_s": 0.05}, timeout_s=60)
        with pytest.raises(DeadlineExceeded):
            await task.result(timeout_s=60)
        outcome = await task.outcome()
    assert outcome is not None
    assert outcome.state == "cancelled"


async def test_a_budget_that_means_nothing_is_refused_before_anything_is_sent() -> None:
    """At the caller, by submit and ask alike."""
    system, ramble, _ = chatter()
    async with memory_system(system) as client:
        with pytest.raises(ConfigurationError, match="no budget 'token'"):
            await client.submit(ramble, Note(text="x"), budget={"token": 5})
        with pytest.raises(ConfigurationError, match="budget usd is -1"):
            await client.ask(ramble, Note(text="x"), budget={"usd": -1})
