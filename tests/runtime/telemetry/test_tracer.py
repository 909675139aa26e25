"""Spans form the tree that the program forms, whoever makes them."""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from antiphon.runtime.telemetry.attributes import SAMPLE_P, SCOPE_NAME
from antiphon.runtime.telemetry.propagation import RemoteParent, inject, parse
from antiphon.runtime.telemetry.tracer import DisabledTracer, LightTracer, LightTracerProvider, id_source
from antiphon.schemas.telemetry import SpanLink

Tree = list[Any]  # of trees


def parents(recorded: Any) -> dict[str, str | None]:
    """Name of the parent by name of the span."""
    names = {span.span_id: span.name for span in recorded.spans.values()}
    return {span.name: names[span.parent_id] if span.parent_id else None for span in recorded.spans.values()}


trees: st.SearchStrategy[Tree] = st.recursive(st.just([]), lambda inner: st.lists(inner, max_size=4), max_leaves=25)


def expected(tree: Tree, name: str, parent: str | None) -> dict[str, str | None]:
    out = {name: parent}
    for number, child in enumerate(tree):
        out.update(expected(child, f"{name}.{number}", name))
    return out


@given(trees, st.integers(0, 2**32))
async def test_the_recorded_tree_is_the_programs_tree(tree: Tree, seed: int) -> None:
    """Generated programs that nest blocks, tasks, gathers, generators and both paths are recorded as they are."""
    recorded = Recorder()
    tracer, chance = LightTracer(recorded, Random(1)), Random(seed)

    async def children(tree: Tree, name: str) -> None:
        branches = [(child, f"{name}.{number}") for number, child in enumerate(tree)]
        match chance.choice(("gather", "tasks", "inline", "stream")):
            case "gather":
                await asyncio.gather(*(visit(*branch) for branch in branches))
            case "tasks":
                async with asyncio.TaskGroup() as group:
                    for branch in branches:
                        group.create_task(visit(*branch))
            case "inline":
                for branch in branches:
                    await visit(*branch)
            case _:
                async with contextlib.aclosing(stream(branches)) as items:
                    async for _ in items:
                        await asyncio.sleep(0)

    async def stream(branches: list[tuple[Tree, str]]) -> AsyncGenerator[int, None]:
        for number, branch in enumerate(branches):
            await visit(*branch)
            yield number

    async def visit(tree: Tree, name: str) -> None:
        if chance.random() < 0.5:
            with tracer.start_as_current_span(name):
                await asyncio.sleep(0)
                await children(tree, name)
            return
        span = tracer.begin(name, 0, tracer.current(), {})
        token = span.attach()
        try:
            await asyncio.sleep(0)
            await children(tree, name)
        finally:
            span.detach(token)
            span.finish()

    await visit(tree, "r")
    assert parents(recorded) == expected(tree, "r", None)
    assert len({span.trace_id for span in recorded.spans.values()}) == 1
    assert tracer.current() is None


class Recorder:
    """As the fixture's, for tests that hypothesis runs many times."""

    def __init__(self) -> None:
        self.rows: list[Any] = []

    def unix_ns(self) -> int:
        return 1 + len(self.rows)

    def add_span(self, row: Any) -> None:
        self.rows.append(row)

    def watch(self, span: Any) -> None:
        raise AssertionError(span)

    def unwatch(self, span: Any) -> None:
        raise AssertionError(span)

    @property
    def spans(self) -> dict[str, Any]:
        return {row.name: row.record() for row in self.rows}


async def test_a_stream_keeps_its_parent_while_others_run(tracer: LightTracer, recorded: Any) -> None:
    """Spans begun inside an async generator hang below whoever iterates, however two readers take turns."""

    async def numbers(name: str) -> AsyncIterator[int]:
        for number in range(3):
            span = tracer.start_span(f"{name}.{number}")
            await asyncio.sleep(0)
            span.end()
            yield number

    async def reader(name: str) -> None:
        with tracer.start_as_current_span(name):
            async for _ in numbers(name):
                await asyncio.sleep(0)

    await asyncio.gather(reader("a"), reader("b"))
    assert {name: parent for name, parent in parents(recorded).items() if "." in name} == {
        f"{name}.{number}": name for name in "ab" for number in range(3)
    }


def test_fan_in_is_recorded_as_links(tracer: LightTracer, recorded: Any) -> None:
    """A span with several causes names each."""
    causes = [tracer.begin(f"cause {i}", 3, None, {}) for i in range(3)]
    links = [SpanLink(trace_id=cause.trace_id, span_id=cause.span_id) for cause in causes]
    tracer.begin("batch", 4, None, {}, links=links).finish()
    assert recorded.spans["batch"].links == links and recorded.spans["batch"].parent_id is None


@pytest.fixture
def sdk() -> tuple[trace.Tracer, InMemorySpanExporter]:
    """A tracer of OpenTelemetry's SDK and what it exports."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("sdk"), exporter


def test_an_sdk_span_inside_ours_has_our_parent(
    tracer: LightTracer, sdk: tuple[trace.Tracer, InMemorySpanExporter]
) -> None:
    """Instrumentation that records through the SDK nests below our spans, begun either way."""
    theirs, exporter = sdk
    with tracer.start_as_current_span("ours") as ours, theirs.start_as_current_span("theirs"):
        pass
    begun = tracer.begin("begun", 4, None, {})
    token = begun.attach()
    theirs.start_span("below begun").end()
    begun.detach(token)
    found = {span.name: span for span in exporter.get_finished_spans()}
    assert found["theirs"].parent == ours.get_span_context()
    assert found["below begun"].parent == begun.get_span_context()
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_our_span_inside_an_sdks_has_its_parent(
    tracer: LightTracer, recorded: Any, sdk: tuple[trace.Tracer, InMemorySpanExporter]
) -> None:
    """Our spans nest below the SDK's, begun either way, and keep all of its flags."""
    with sdk[0].start_as_current_span("theirs") as theirs:
        with tracer.start_as_current_span("ours") as ours:
            pass
        tracer.begin("begun", 4, tracer.current(), {}).finish()
    context = theirs.get_span_context()
    for span in recorded.spans.values():
        assert span.parent_id == context.span_id.to_bytes(8, "big")
        assert span.trace_id == context.trace_id.to_bytes(16, "big")
    assert ours.get_span_context().trace_flags == context.trace_flags


def test_an_explicit_context_wins(tracer: LightTracer, recorded: Any) -> None:
    """The parent is taken from the context that is given, not from the current one."""
    elsewhere = tracer.start_span("elsewhere")
    with tracer.start_as_current_span("here"):
        tracer.start_span("child", context=trace.set_span_in_context(elsewhere)).end()
    assert recorded.spans["child"].parent_id == elsewhere.span_id


def test_the_tracer_decorates_functions(tracer: LightTracer, recorded: Any) -> None:
    """As a decorator it makes a new span for each call, and for coroutines until they end."""

    @tracer.start_as_current_span("sync")
    def work() -> None:
        tracer.start_span("in sync").end()

    @tracer.start_as_current_span("async", kind=SpanKind.SERVER)
    async def work_later() -> None:
        await asyncio.sleep(0)
        tracer.start_span("in async").end()

    work()
    work()
    asyncio.run(work_later())
    assert parents(recorded) == {"sync": None, "in sync": "sync", "async": None, "in async": "async"}
    assert len(recorded.rows) == 6 and recorded.spans["async"].kind == 1


def test_end_on_exit_can_be_turned_off(tracer: LightTracer, recorded: Any) -> None:
    """The caller may end the span later."""
    with tracer.start_as_current_span("work", end_on_exit=False) as span:
        pass
    assert recorded.rows == [] and span.is_recording()
    span.end()
    assert list(recorded.spans) == ["work"]


def test_a_remote_parents_decision_is_honoured(recorded: Any) -> None:
    """Sampled parents are followed even at probability 0, others not even at 1."""
    sampled = parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03")
    never, always = LightTracer(recorded, Random(1), sample=0.0), LightTracer(recorded, Random(1))
    never.begin("followed", 4, sampled, {}).finish()
    quiet = always.begin("quiet", 4, RemoteParent(b"t" * 16, b"s" * 8, 2), {}, announce=True)
    quiet.finish()
    assert list(recorded.spans) == ["followed"] and recorded.watched == set()
    assert recorded.spans["followed"].attributes == {}
    assert not quiet.is_recording()


def test_an_unsampled_span_still_propagates(recorded: Any) -> None:
    """It has an identity, its children are of its trace and unsampled, and headers say so."""
    tracer = LightTracer(recorded, Random(1), sample=0.0)
    with tracer.start_as_current_span("root") as root:
        child = tracer.start_span("child")
        child.end()
    assert recorded.rows == []
    assert child.get_span_context().trace_id == root.get_span_context().trace_id
    assert inject(child)[0].endswith(f"{child.span_id.hex()}-00")


def test_roots_are_sampled_with_the_given_probability(recorded: Any) -> None:
    """About the given share of traces is kept, and each kept root says how probable that was."""
    tracer = LightTracer(recorded, Random(3), sample=0.25)
    for _ in range(4000):
        tracer.begin("root", 4, None, {}).finish()
    assert 900 < len(recorded.rows) < 1100
    assert all(row.attributes == {SAMPLE_P: 0.25} for row in recorded.rows)


def test_ids_differ_in_threads_and_forked_children(recorded: Any) -> None:
    """No two spans share an id, in whatever thread or process they begin."""
    tracer = LightTracer(recorded, id_source())

    def spans() -> list[str]:
        return [inject(tracer.begin("x", 0, None, {}))[0] for _ in range(500)]

    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.extend(spans())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, "\n".join(spans()).encode()[:60_000])
        os._exit(0)
    found.extend(spans())
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as pipe:
        found.extend(pipe.read().split("\n"))
    assert len(found) == len(set(found)) == 3000


def test_a_disabled_tracer_hands_identities_through() -> None:
    """With tracing off nothing is recorded, and what others trace is not cut."""
    tracer = DisabledTracer(Recorder(), Random(1))
    parent = parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "v=1")
    span = tracer.begin("x", 4, parent, {}, announce=True)
    assert inject(span) == ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "v=1")
    token = span.attach()
    with tracer.start_as_current_span("y") as inner:
        assert inner.get_span_context() == span.get_span_context() and not inner.is_recording()
    span.detach(token)
    root = tracer.begin("x", 4, None, {})
    root.finish()
    assert inject(root) == ("", "") and not root.get_span_context().is_valid


def test_a_span_without_identity_is_nobodys_parent(tracer: LightTracer, recorded: Any) -> None:
    """Below a disabled tracer's root a recording one starts a trace of its own."""
    root = DisabledTracer(Recorder(), Random(1)).begin("x", 0, None, {})
    token = root.attach()
    tracer.start_span("own").end()
    root.detach(token)
    assert recorded.spans["own"].parent_id is None


def test_a_providers_tracers_carry_their_scope(recorded: Any) -> None:
    """Spans of foreign instrumentation say whose they are."""
    provider = LightTracerProvider(recorded, Random(1))
    provider.get_tracer("some.library", "1.0").start_span("call").end()
    assert recorded.spans["call"].attributes == {SCOPE_NAME: "some.library"}
