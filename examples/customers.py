"""Customers of a demo: each asks, waits for the answer, thinks, and asks again; what every run took is kept."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from antiphon import Client, Handler, Message
from antiphon.runtime.errors import AntiphonError

KEEP = 10_000  # runs: more than three minutes bring
TIMEOUT_S = 30.0


class Crowd(NamedTuple):
    """So many customers who ask the same agent; ``pause_s`` is the mean of their exponential thinking."""

    handler: Handler[Any, Any]
    customers: int
    pause_s: float

    @property
    def entry(self) -> str:
        """The handler as findings name it."""
        return str(self.handler.address)


@dataclass(frozen=True, slots=True)
class Run:
    """One answer: when it was asked for, by the loop's clock, and how long it took; None: it failed."""

    entry: str
    began_s: float
    took_s: float | None


class Customers:
    """All crowds. ``message``: of the n-th run."""

    def __init__(
        self, client: Client, crowds: Iterable[tuple[Handler[Any, Any], int, float]], message: Callable[[int], Message]
    ) -> None:
        self._client = client
        self.crowds = tuple(Crowd(*crowd) for crowd in crowds)
        self._message = message
        self._asked = 0
        self.runs: deque[Run] = deque(maxlen=KEEP)

    @asynccontextmanager
    async def here(self) -> AsyncGenerator[None, None]:
        """They come, each at a moment of its own, and are there while the body runs."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._customer(crowd, random.Random(f"{crowd.entry} {number}")))
                for crowd in self.crowds
                for number in range(crowd.customers)
            ]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    def between(self, since_s: float, until_s: float, entry: str = "") -> list[Run]:
        """The runs that began then; of one entry if it is named."""
        return [run for run in self.runs if since_s <= run.began_s < until_s and entry in ("", run.entry)]

    async def _customer(self, crowd: Crowd, rng: random.Random) -> None:
        now_s = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(rng.expovariate(1 / crowd.pause_s))
            self._asked += 1
            began_s = now_s()
            try:
                await self._client.ask(crowd.handler, self._message(self._asked), timeout_s=TIMEOUT_S)
            except AntiphonError:
                self.runs.append(Run(crowd.entry, began_s, None))
            else:
                self.runs.append(Run(crowd.entry, began_s, now_s() - began_s))


def mean_s(runs: Sequence[Run]) -> float | None:
    """What the runs took in the mean; None where none succeeded."""
    took = [run.took_s for run in runs if run.took_s is not None]
    return sum(took) / len(took) if took else None
