"""Who spoke to whom as it was recorded, and what waits at whom now, as the bus says it."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from antiphon.runtime.bus.base import ConsumerState
from antiphon.runtime.clock import Clock
from antiphon.runtime.console.asking import answer, query
from antiphon.runtime.console.overview import WindowQuery
from antiphon.runtime.console.overview_views import TopologyView
from antiphon.runtime.errors import BusError
from antiphon.runtime.store.query import Reader
from antiphon.runtime.store.topology import topology
from antiphon.schemas import subjects

BUS_S = 2.0  # the record is shown without the queues if the bus does not answer

log = structlog.get_logger(__name__)


class Graph:
    """Handler over the store and ``queues``, which says how far consumers of durable work are."""

    def __init__(
        self, reader: Reader, clock: Clock, tenant: str, queues: Callable[[], Awaitable[list[ConsumerState]]]
    ) -> None:
        self._reader = reader
        self._clock = clock
        self._tenant = tenant
        self._queues = queues

    def routes(self) -> list[BaseRoute]:
        """Where it is found."""
        return [Route("/api/topology", self.topology)]

    async def topology(self, request: Request) -> Response:
        """Who spoke to whom."""
        asked = query(request, WindowQuery)
        queued = await self._queued()
        found = await asyncio.to_thread(self._reader.ask, partial(topology, window=asked.window(self._clock)))
        window_s = max((self._clock.unix_ns() - found.since_ns) / 1e9, 0.001)
        return answer(TopologyView.of(found, window_s, queued))

    async def _queued(self) -> Mapping[str, int]:
        try:
            async with asyncio.timeout(BUS_S):
                return queued_at(await self._queues(), self._tenant)
        except (BusError, TimeoutError) as error:
            log.warning("topology_without_queues", error=str(error), error_type=type(error).__name__)
            return {}


def queued_at(queues: Iterable[ConsumerState], tenant: str) -> Mapping[str, int]:
    """Work that no worker has taken, by agent.

    What a keyed handler is sent waits for two, the agent's durable and the handler's forwarder, until both have it.
    """
    all_handlers, keyed, lanes = Counter[str](), Counter[str](), Counter[str]()
    for queue in queues:
        parsed = _task_subject(queue)
        if parsed is not None and parsed.tenant == tenant:
            agent, handler, *lane = parsed.rest
            (lanes if lane else all_handlers if handler == "*" else keyed)[agent] += queue.pending
    return {
        agent: max(all_handlers[agent], keyed[agent]) + lanes[agent] for agent in {**all_handlers, **keyed, **lanes}
    }


def _task_subject(queue: ConsumerState) -> subjects.Parsed | None:
    """Of our consumers, which have one subject; None of a stranger's."""
    try:
        (subject,) = queue.subjects
        parsed = subjects.parse(subject)
    except ValueError:  # several or none, or not ours: SubjectError
        return None
    return parsed if parsed.kind is subjects.Kind.TASK and len(parsed.rest) in (2, 3) else None
