"""Faults of the bus that no node can see from inside: stalls, lost heartbeats, outages, answers that do not come."""

import asyncio
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal
from unittest import mock

from antiphon.runtime import memory_cluster as clusters
from antiphon.runtime import node as nodes
from antiphon.runtime.bus.base import Bus, Delivery
from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.bus.memory_streams import MemoryLease
from antiphon.runtime.delivery import janitor
from antiphon.runtime.delivery.slots import Slots
from antiphon.runtime.distance import Travel, distant
from antiphon.runtime.errors import BusUnavailable


class Faults:
    """What is wrong with the bus right now."""

    def __init__(self) -> None:
        self.outage: Literal["", "refuse", "mislay"] = ""
        self.deaf: set[str] = set()
        self.stalled: dict[str, asyncio.Event] = {}
        self.slots: dict[str, list[Slots]] = {}

    @property
    def present(self) -> bool:
        """Whether something is wrong now."""
        return bool(self.outage or self.deaf or not all(way.is_set() for way in self.stalled.values()))

    @contextmanager
    def installed(self) -> Generator[None, None, None]:
        """In every bus that is made meanwhile."""
        with ExitStack() as stack:
            stack.enter_context(mock.patch.object(clusters, "distant", self._distant))
            stack.enter_context(mock.patch.object(nodes, "Slots", self._made_slots))
            stack.enter_context(mock.patch.object(janitor, "TICK_S", 3600.0))  # done by the simulation, in its own time
            stack.enter_context(mock.patch.object(MemoryBus, "check_open", self._checked(MemoryBus.check_open)))
            stack.enter_context(mock.patch.object(MemoryLease, "extend", self._heard(MemoryLease.extend)))
            yield

    def _distant(self, bus: MemoryBus, travel: Travel) -> Bus:
        way = self.stalled[_here()] = asyncio.Event()
        way.set()

        async def held() -> None:
            await way.wait()
            await travel()

        return distant(bus, held)

    def _made_slots(self, *args: Any) -> Slots:
        slots = Slots(*args)
        self.slots.setdefault(_here(), []).append(slots)
        return slots

    def _checked(self, check_open: Any) -> Any:
        def checked(bus: MemoryBus) -> None:
            check_open(bus)
            if self.outage == "refuse":
                raise BusUnavailable("the bus is away")

        return checked

    def _heard(self, extend: Any) -> Any:
        async def heard(lease: Any) -> None:
            if _here() not in self.deaf:
                await extend(lease)

        return heard


def _here() -> str:
    """The node whose code runs."""
    process = clusters._HERE.get()
    return "" if process is None else process.name


class FaultyServer(MemoryServer):
    """A server whose answers can be lost on the way: it did what it was asked to, and nobody knows."""

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self._faults = faults

    def deliver(self, delivery: Delivery) -> bool:
        """Hand a message to those who listen now."""
        if self._faults.outage == "mislay":
            raise BusUnavailable("no answer")
        return super().deliver(delivery)
