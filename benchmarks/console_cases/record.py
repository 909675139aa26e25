"""What a busy system leaves in its store: runs of two dozen spans, a long one among them, the same at every call."""

import heapq
import random
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from antiphon.runtime.clock import SystemClock
from antiphon.runtime.store.retention import Retention
from antiphon.runtime.store.sqlite import Received, Store
from antiphon.runtime.whatif.testing import MS, T0_NS, S, Traced
from antiphon.schemas.telemetry import LogRecord, SpanRecord, TelemetryBatch

SPANS_PER_S = 250  # of the recorded system
LONG = "long"
FOREMAN = 500  # spans of one stretch of the long run
FOREMAN_MS = 6_000
BATCH = 4_000
FLUSH = 8  # batches between flushes of the roll-ups: the writer's second
NODES = ("n1", "n2", "n3", "n4")
WORKERS = tuple(f"worker{n}" for n in range(8))
MODELS = ("smollm2-135m", "qwen2.5-0.5b", "gemini-2.5-flash")
TOOLS = ("search", "fetch", "lookup", "convert")
_LOOSE = Retention(max_age_s=1e9, max_bytes=1 << 40)


def fill(path: Path, spans: int, long_spans: int, begin_ns: int) -> None:
    """Write a store of ``spans`` spans and a few, ``long_spans`` of them one run's, with the console's own writer."""
    with Progress("filling the store", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as progress:
        task = progress.add_task("spans", total=spans)
        store = Store.open(path, clock=SystemClock(), retention=_LOOSE)
        stream, number = _stream(spans, long_spans, begin_ns), 0
        while part := list(islice(stream, BATCH)):
            node = NODES[number % len(NODES)]
            batch = TelemetryBatch(node=node, sequence=number // len(NODES) + 1, spans=part, logs=_logs(part))
            store.write([Received(batch=batch)])
            number += 1
            if number % FLUSH == 0:
                store.flush_rollups()
            progress.advance(task, len(part))
        store.close()


def _stream(spans: int, long_spans: int, begin_ns: int) -> Iterator[SpanRecord]:
    """All spans about in order of their ends, as they reach a store; the long run in the middle."""
    ordinary = spans - long_spans
    long_ms = long_spans // FOREMAN * FOREMAN_MS
    middle_ns = begin_ns + max(ordinary * 1_000 // SPANS_PER_S - long_ms, 0) // 2 * MS
    return heapq.merge(_ordinary(ordinary, begin_ns), long_run(long_spans, middle_ns), key=lambda span: span.end_ns)


def _ordinary(wanted: int, begin_ns: int) -> Iterator[SpanRecord]:
    made = number = 0
    while made < wanted:
        group: list[SpanRecord] = []
        while len(group) < SPANS_PER_S * 4 and made + len(group) < wanted:
            number += 1
            group += one_run(number, begin_ns + (made + len(group)) * S // SPANS_PER_S)
        made += len(group)
        yield from sorted(group, key=lambda span: span.end_ns)


def one_run(number: int, at_ns: int) -> list[SpanRecord]:
    """A plan: two to five workers at a time, each with a tool and a model call, and a critic that joins them."""
    rng = random.Random(number)
    trace = _trace(f"{number:032x}", number, at_ns, rng)
    width = rng.randint(2, 5)
    took = [_ms(rng, 900) for _ in range(width)]
    all_ms = 40 + max(took) + _ms(rng, 300)
    root = trace.ask(None, "planner.plan", 0, all_ms, wait_ms=_ms(rng, 3), operation="submit", **_common(rng))
    workers = [_work(trace, root, rng.choice(WORKERS), 20 + n, 20 + n + ms, rng) for n, ms in enumerate(took)]
    trace.ask(
        root, "critic.review", 30 + max(took), all_ms - 5, causes=_asked(trace, workers), operation="call",
        **_common(rng),
    )  # fmt: skip
    return _named(trace)


def long_run(spans: int, at_ns: int) -> Iterator[SpanRecord]:
    """A run of so many spans: foremen in turn, each handing out work and joining it; about in order of ends."""
    rng = random.Random(LONG)
    trace = _trace(LONG, 1_000_000, at_ns, rng)
    foremen = spans // FOREMAN
    root = trace.ask(None, "boss.sweep", 0, foremen * FOREMAN_MS, operation="submit", **_common(rng))
    top = _named(trace)
    for number in range(foremen):
        trace.spans = []
        trace.number += 1  # span ids are made of it
        start_ms = number * FOREMAN_MS + 1
        end_ms = start_ms + FOREMAN_MS - 1
        foreman = trace.ask(root, "foreman.share", start_ms, end_ms, operation="call", **_common(rng))
        wanted = FOREMAN - (len(top) if number == 0 else 0)
        done: list[SpanRecord] = []
        while len(trace.spans) + 4 <= wanted:
            at_ms = start_ms + rng.random() * FOREMAN_MS * 0.8
            done.append(_work(trace, foreman, rng.choice(WORKERS), at_ms, min(at_ms + _ms(rng, 250), end_ms), rng))
            if len(done) % 10 == 0:
                ended = [each for each in done if each.end_ns <= done[-1].start_ns]
                trace.publish_of(done[-1]).attributes["antiphon.msg.causes"] = _asked(trace, ended[-5:])
        while len(trace.spans) < wanted:
            trace.tool(foreman, "note", start_ms, start_ms + 1, **_common(rng))
        yield from sorted(_named(trace), key=lambda span: span.end_ns)
    yield from top


def _work(
    trace: Traced, parent: SpanRecord, agent: str, start_ms: float, end_ms: float, rng: random.Random
) -> SpanRecord:
    """One worker: asked, waiting in its mailbox, a tool, a model. One in fifty fails at its second attempt."""
    took = end_ms - start_ms
    wait_ms = took * rng.random() * 0.3
    model_ms = start_ms + wait_ms + took * 0.2
    failed = rng.random() < 0.02
    worker = trace.ask(
        parent, f"{agent}.work", start_ms, end_ms, wait_ms=wait_ms, operation="call", node=rng.choice(NODES),
        status=2 if failed else 0, attempt=2 if failed else 1, depth=int(wait_ms / 20), **_common(rng),
    )  # fmt: skip
    worker.status_message = "ValueError: the page has no table" if failed else ""
    tool: dict[str, Any] = {"gen_ai.operation.name": "execute_tool", **_common(rng)}
    trace.tool(worker, rng.choice(TOOLS), start_ms + wait_ms, model_ms, **tool)
    seconds = (end_ms - model_ms) / 1000
    tokens = rng.randint(40, 2_000)
    model: dict[str, Any] = {
        "gen_ai.operation.name": "chat", "gen_ai.usage.cache_read.input_tokens": tokens // 3,
        "antiphon.model.queue_s": seconds * 0.1, "antiphon.model.prefill_s": seconds * 0.2,
        "antiphon.model.decode_s": seconds * 0.6, "gen_ai.response.finish_reasons": ["stop"], **_common(rng),
    }  # fmt: skip
    trace.model(
        worker, model_ms, end_ms, model=rng.choice(MODELS), tokens=tokens, output=rng.randint(5, 200),
        content=f"{rng.getrandbits(128):032x}", **model,
    )  # fmt: skip
    return worker


def _asked(trace: Traced, done: Sequence[SpanRecord]) -> list[str]:
    """As a node names them that used their results: by the spans of the messages that asked."""
    return [trace.publish_of(each).span_id.hex() for each in done]


def _trace(run: str, number: int, at_ns: int, rng: random.Random) -> Traced:
    trace = Traced(number, at_ms=(at_ns - T0_NS) / MS, run=run)
    trace.trace_id = (at_ns // S).to_bytes(4, "big") + rng.randbytes(12)  # as the tracer makes them
    return trace


def _named(trace: Traced) -> list[SpanRecord]:
    """With what every span says: the run, and the agent in which it happened."""
    agents: dict[bytes | None, str] = {}
    for span in trace.spans:  # parents come first
        span.attributes.setdefault("antiphon.run", trace.run)
        agent = span.attributes.get("antiphon.agent") or agents.get(span.parent_id, "")
        agents[span.span_id] = agent
        if agent:
            span.attributes["antiphon.agent"] = agent
    return trace.spans


def _common(rng: random.Random) -> dict[str, Any]:
    """What the runtime writes on most spans besides: a real span's attributes are 400 to 1,200 bytes of JSON."""
    return {
        "messaging.system": "nats", "messaging.message.body.size": 16, "antiphon.path": "1.a.1",
        "antiphon.effect": "write", "antiphon.input.sha256": f"{rng.getrandbits(128):032x}",
        "antiphon.task": f"{rng.getrandbits(128):032x}",
    }  # fmt: skip


def _logs(spans: Sequence[SpanRecord]) -> list[LogRecord]:
    """One for each failure, and one for every hundredth span."""
    return [
        LogRecord(unix_ns=span.start_ns, level="error" if span.status else "info", event="work_done",
                  trace_id=span.trace_id, span_id=span.span_id, fields={"attempt": 1})
        for number, span in enumerate(spans)
        if span.status or number % 100 == 0
    ]  # fmt: skip


def _ms(rng: random.Random, median: float) -> float:
    return median * rng.lognormvariate(0, 0.8)
