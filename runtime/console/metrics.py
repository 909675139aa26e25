"""``GET /metrics``: what Prometheus scrapes, in its text format.

https://prometheus.io/docs/instrumenting/exposition_formats/. Counters begin at zero with the process, as Prometheus
expects of every restart. Written by hand: about twelve families do not need a client library and its registry. Handlers
of known agents are there from the start with 0: ``rate()`` sees nothing of a series that begins with its first task.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from antiphon.runtime.bus.base import ConsumerState
from antiphon.runtime.store.facts import PROCESS
from antiphon.runtime.store.query import Reader
from antiphon.runtime.store.rollups import Cell
from antiphon.runtime.store.standing import Standing, standing
from antiphon.runtime.store.totals import Kind, Totals
from antiphon.schemas.node import AgentCard

BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
BUS_S: Final = 5.0
_NS: Final = 1e9

Labels = Mapping[str, str]
Sample = tuple[str, Labels, float]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name, kind, meaning, and samples of (suffix, labels, value)."""

    name: str
    kind: str
    help: str
    samples: Sequence[Sample]

    def text(self) -> str:
        """As Prometheus reads it."""
        lines = [f"# HELP {self.name} {self.help}", f"# TYPE {self.name} {self.kind}"]
        lines += [f"{self.name}{suffix}{_labels(labels)} {value:.10g}" for suffix, labels, value in self.samples]
        return "\n".join(lines) + "\n"


class Metrics:
    """Handler over the store, ``queues``, which says how far consumers of durable work are, and known ``agents``."""

    def __init__(
        self,
        totals: Totals,
        reader: Reader,
        path: Path,
        queues: Callable[[], Awaitable[list[ConsumerState]]],
        agents: Callable[[], Awaitable[list[AgentCard]]],
    ) -> None:
        self._totals = totals
        self._reader = reader
        self._path = path
        self._queues = queues
        self._agents = agents

    def routes(self) -> list[BaseRoute]:
        """Where it is found."""
        return [Route("/metrics", self.metrics)]

    async def metrics(self, request: Request) -> Response:
        """Everything, as it is now."""
        async with asyncio.timeout(BUS_S):
            queues, agents = await self._queues(), await self._agents()
        found, size = await asyncio.to_thread(lambda: (self._reader.ask(standing), _size(self._path)))
        handlers = {(agent.name, PROCESS, ""): Cell() for agent in agents if not agent.observes}
        families = (*_work(handlers | self._totals.read()), *_kept(found, size), _queued(queues))
        return Response("".join(family.text() for family in families), media_type=CONTENT_TYPE)


def _work(kinds: Mapping[Kind, Cell]) -> Iterable[Family]:
    labelled = [({"agent": kind[0], "operation": kind[1], "model": kind[2]}, cell) for kind, cell in kinds.items()]

    def total(name: str, help: str, of: Callable[[Cell], float]) -> Family:
        return Family(name, "counter", help, [("", labels, of(cell)) for labels, cell in labelled])

    yield total("antiphon_spans_total", "Finished spans.", lambda cell: cell.count)
    yield total("antiphon_span_errors_total", "Finished spans that failed.", lambda cell: cell.errors)
    yield total(
        "antiphon_queue_seconds_total", "Time that work waited before it was begun.", lambda cell: cell.queue_ns / _NS
    )
    yield Family(
        "antiphon_tokens_total",
        "counter",
        "Tokens of models; cached ones are also among the input.",
        [
            ("", {"agent": labels["agent"], "model": labels["model"], "kind": kind}, value)
            for labels, cell in labelled
            if labels["model"]
            for kind, value in (
                ("input", cell.input_tokens),
                ("cached", cell.cached_tokens),
                ("output", cell.output_tokens),
            )
        ],
    )
    yield Family(
        "antiphon_span_duration_seconds",
        "histogram",
        "How long finished spans took; bounds are met within 2 percent.",
        [sample for labels, cell in labelled for sample in _histogram(labels, cell)],
    )


def _histogram(labels: Labels, cell: Cell) -> Iterable[Sample]:
    for bound in BUCKETS_S:
        yield "_bucket", {**labels, "le": f"{bound:g}"}, cell.sketch.at_most(bound * _NS)
    yield "_bucket", {**labels, "le": "+Inf"}, cell.count
    yield "_sum", labels, cell.sum_ns / _NS
    yield "_count", labels, cell.count


def _kept(found: Standing, size: int) -> Iterable[Family]:
    yield Family(
        "antiphon_runs", "gauge", "Runs in the store.", [("", {"status": key}, n) for key, n in found.runs.items()]
    )
    yield Family(
        "antiphon_findings", "gauge", "Findings.", [("", {"state": key}, n) for key, n in found.findings.items()]
    )
    nodes = [({"node": node.node}, node) for node in found.nodes]
    yield Family(
        "antiphon_telemetry_missing_batches_total",
        "counter",
        "Batches of a node that never came.",
        [("", labels, node.missing) for labels, node in nodes],
    )
    yield Family(
        "antiphon_telemetry_dropped_records_total",
        "counter",
        "Records that a node threw away because its buffer was full.",
        [("", labels, node.dropped) for labels, node in nodes],
    )
    yield Family("antiphon_store_rejected_total", "counter", "Messages nobody could read.", [("", {}, found.rejected)])
    yield Family("antiphon_store_bytes", "gauge", "Size of the store's files.", [("", {}, size)])


def _queued(queues: Iterable[ConsumerState]) -> Family:
    return Family(
        "antiphon_queue_depth",
        "gauge",
        "Durable work that nobody is done with: state waiting, or held by a worker.",
        [
            ("", {"queue": each.name, "state": state}, value)
            for each in queues
            for state, value in (("waiting", each.pending), ("held", each.held))
        ],
    )


def _size(path: Path) -> int:
    files = (path, path.with_name(f"{path.name}-wal"))
    return sum(os.stat(each).st_size for each in files if each.exists())


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
