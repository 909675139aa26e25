"""Scores: from a client over the bus into the store, the newest of each name, and gone with the retention."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from antiphon import Agent, Context, Message, System
from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.store.query import Reader
from antiphon.runtime.store.retention import Retention
from antiphon.runtime.store.schema import STEPS, migrate
from antiphon.runtime.store.sqlite import Store
from antiphon.runtime.store.writer import StoreWriter
from antiphon.runtime.testing import memory_system
from antiphon.schemas import subjects
from antiphon.schemas.score import TOPIC, Score


class N(Message):
    n: int = 0


def score(task: str, name: str, value: float, unix_ms: int = 2_000_000_000_000) -> Score:
    return Score(task=task, name=name, value=value, unix_ms=unix_ms)


async def test_a_score_reaches_the_store_and_a_body_that_is_none_is_kept_apart(store: Store, path: Path) -> None:
    """By the task's handle or its id; of two of one name the later one stays."""
    agent = Agent("adder")

    @agent.handles
    async def add(message: N, ctx: Context) -> N:
        return N(n=message.n + 1)

    server = MemoryServer()
    with closing(Reader.open(path)) as reader:
        async with memory_system(System("adder", [agent]), server=server) as client:
            bus = MemoryBus(server)
            writing = asyncio.create_task(StoreWriter(store, bus.streams, SystemClock()).run())
            task = await client.submit(add, N())
            await bus.streams.append(subjects.event("default", TOPIC), b'{"task": 1}')
            await client.score(task, "good", 0.2)
            await client.score(task.id, "good", 0.8, "better on reading it again")
            async with asyncio.timeout(60):
                while not any(found.value == 0.8 for found in reader.scores(task.run)):  # noqa: ASYNC110  # in a file
                    await asyncio.sleep(0.01)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            for bad in (("x y", "good", 1.0), (task.id, "", 1.0), (task.id, "good", float("nan"))):
                with pytest.raises(ConfigurationError, match=r"task id|score cannot be"):
                    await client.score(*bad)
        (found,) = reader.scores(task.run)
        assert (found.name, found.value, found.comment) == ("good", 0.8, "better on reading it again")
        assert reader.health().rejected == 1


def test_an_older_score_does_not_replace_a_newer_one(store: Store, path: Path) -> None:
    """Events may come in any order; names and tenants are kept apart."""
    store.put_scores([("default", score("t", "good", 1.0, 20))])
    store.put_scores([("default", score("t", "good", 0.0, 10)), ("default", score("t", "quick", 0.5, 30))])
    with closing(Reader.open(path)) as reader:
        assert [(each.name, each.value) for each in reader.scores("t")] == [("good", 1.0), ("quick", 0.5)]


def test_old_scores_are_forgotten(path: Path) -> None:
    """With everything else that is beyond the retention."""
    with closing(Store.open(path, clock=SystemClock(), retention=Retention(max_age_s=3600.0))) as store:
        store.put_scores([("default", score("old", "good", 1.0, 1_000)), ("default", score("t", "good", 1.0))])
        assert store.sweep() == 1
    with closing(Reader.open(path)) as reader:
        assert reader.scores("old") == () and len(reader.scores("t")) == 1


def test_a_store_of_before_gains_the_table(path: Path) -> None:
    """A file of version 2 is taken one step further, and keeps what it has."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, path, STEPS[:2])
        connection.execute("INSERT INTO journals VALUES ('default', 't', 'r', 1, x'00')")
    with closing(Store.open(path, clock=SystemClock())) as store:
        store.put_scores([("default", score("t", "good", 1.0))])
    with closing(Reader.open(path)) as reader:
        assert reader.journals("default", "r", limit=5) == ["t"]
        assert len(reader.scores("r")) == 1  # of a task that is not the run's first one
