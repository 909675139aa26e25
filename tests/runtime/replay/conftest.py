"""Runs recorded on a cluster in memory, under virtual time, and read back from its bus."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from antiphon import System
from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.bus.topology import EVENTS
from antiphon.runtime.client import Client
from antiphon.runtime.models.base import ModelInstance
from antiphon.runtime.replay.record import RecordedRun, children_of, recorded
from antiphon.runtime.settings import Settings
from antiphon.runtime.store.archive import journal_on_bus
from antiphon.runtime.testing import memory_system, run_virtual
from antiphon.schemas.envelope import MESSAGE_ID
from antiphon.schemas.identity import derived_id
from antiphon.schemas.journal import JournalBatch

Record = Callable[..., RecordedRun]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a process that was told nothing."""
    return Settings(home=tmp_path)


@pytest.fixture(scope="session")
def record() -> Record:
    """``record(system, handler, message)``: the run of that task; ``meanwhile`` acts while it runs."""

    def run(
        system: System,
        handler: Any,
        message: Any,
        *,
        models: Mapping[str, ModelInstance] | None = None,
        meanwhile: Callable[[Client], Any] | None = None,
        labels: Mapping[str, str] | None = None,
        events: Sequence[str] = (),
    ) -> RecordedRun:
        async def work() -> RecordedRun:
            server = MemoryServer()
            async with memory_system(system, models=models, server=server) as client:
                task = await client.submit(handler, message, labels=labels)
                if meanwhile is not None:
                    await meanwhile(client)
                while await task.outcome() is None:  # noqa: ASYNC110  # virtual time: a turn of the loop
                    await asyncio.sleep(1.0)
                await asyncio.sleep(1.0)  # the closing batch follows the result
                bus = MemoryBus(server)
                found: list[JournalBatch] = []
                waiting = [task.id]
                for stored in [each async for each in bus.streams.read(EVENTS.name, ">")] if events else []:
                    published = stored.headers[MESSAGE_ID]
                    waiting += [derived_id("event", "default", published, each) for each in events]
                while waiting:
                    batch = await journal_on_bus(bus, "default", waiting.pop())
                    if batch is not None:
                        found.append(batch)
                        waiting += [id for entry in batch.entries for id in children_of(batch.task, entry.path)]
                return recorded(task.id, found)

        return run_virtual(work(), limit_s=10 * 86_400.0)

    return run
