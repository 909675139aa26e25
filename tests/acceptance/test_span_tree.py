"""The record of a real run equals the program: parents, links, one root, nothing without a parent."""

import asyncio
import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

from antiphon import Handler, connect
from antiphon.runtime.store.query import Reader, RunRecord
from antiphon.runtime.telemetry import attributes as names
from antiphon.schemas.telemetry import SpanRecord

if TYPE_CHECKING:
    from tests.acceptance.conftest import Eventually, Place

RUN = """
publish antiphon.{tenant}.task.{agent}.{handler} tree.grow
  process antiphon.{tenant}.task.{agent}.{handler} tree.grow
    1 publish antiphon.{tenant}.ask.{agent}.{handler} leaf.fall
      process antiphon.{tenant}.ask.{agent}.{handler} leaf.fall
    2 publish antiphon.{tenant}.task.{agent}.{handler} leaf.fall
      process antiphon.{tenant}.task.{agent}.{handler} leaf.fall
    3 publish antiphon.{tenant}.task.{agent}.{handler} leaf.cling
      process antiphon.{tenant}.task.{agent}.{handler} leaf.cling failed OSError
      process antiphon.{tenant}.task.{agent}.{handler} leaf.cling attempt 2
    5 execute_tool add
    6 run write
    7 publish antiphon.{tenant}.event.{topic} leaves.fallen
      process antiphon.{tenant}.event.{topic} ground.heard
        1 publish antiphon.{tenant}.ask.{agent}.{handler} leaf.fall
          process antiphon.{tenant}.ask.{agent}.{handler} leaf.fall
"""


async def test_the_recorded_spans_are_the_program(
    shared: "Place", peer: Callable[[str], Handler[Any, Any]], eventually: "Eventually"
) -> None:
    """gather (number 4), ask, call, a redelivery, tool, run and an event: each where the code made it."""
    grow = peer("tree.grow")
    async with connect(settings=shared.settings) as client:
        task = await client.submit(grow, grow.input(n=3))
        assert (await task.result(timeout_s=240)).n == 6

    def complete() -> RunRecord | None:
        with closing(Reader.open(shared.settings.store_path)) as reader:
            found = reader.run(task.run)
        return found if found and len(found.spans) >= 15 and all(span.end_ns for span in found.spans) else None

    record = await asyncio.to_thread(eventually, complete)
    spans = {span.span_id: span for span in record.spans}
    assert len({span.trace_id for span in record.spans}) == 1
    roots = [span for span in record.spans if span.parent_id is None]
    assert len(roots) == 1
    assert all(span.parent_id in spans for span in record.spans if span.parent_id is not None)
    assert "\n" + "\n".join(_drawn(roots[0], record, 0)) + "\n" == RUN

    for span in record.spans:
        assert span.attributes[names.RUN] == task.run
        if span.name.startswith("process"):
            # One message, one producer: the link repeats the parent for readers that follow links only.
            assert [(link.trace_id, link.span_id) for link in span.links] == [(span.trace_id, span.parent_id)]
            parent = spans[span.parent_id or b""]
            assert parent.start_ns <= span.attributes[names.QUEUE_DEQUEUE_NS]
        assert 0 < span.start_ns <= span.end_ns <= time.time_ns()


def _drawn(span: SpanRecord, record: RunRecord, depth: int) -> list[str]:
    """The tree below a span, a line each, siblings in program order."""
    a = span.attributes
    what = f"{a[names.AGENT]}.{a[names.HANDLER]}" if names.HANDLER in a else _target(span)
    words = [
        "  " * depth + (a[names.PATH] + " " if depth and names.PATH in a else "") + span.name,
        what,
        f"failed {a[names.ERROR_TYPE]}" if span.status == 2 else "",
        f"attempt {a[names.ATTEMPT]}" if a.get(names.ATTEMPT, 1) > 1 else "",
    ]
    children = sorted(
        (child for child in record.spans if child.parent_id == span.span_id),
        key=lambda child: (child.attributes.get(names.PATH, ""), child.start_ns),
    )
    return [" ".join(word for word in words if word)] + [
        line for child in children for line in _drawn(child, record, depth + 1)
    ]


def _target(span: SpanRecord) -> str:
    """What a producer's destination says beyond its template."""
    return ".".join(str(span.attributes.get(names.MESSAGING_DESTINATION, "")).split(".")[3:])
