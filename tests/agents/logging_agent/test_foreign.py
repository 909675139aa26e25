"""Detectors at work on traces of programs that know nothing of us, with a waste planted in copies of them."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from antiphon.agents.logging_agent.core import LoggingCore
from antiphon.runtime.telemetry.hashing import ContentHash
from antiphon.runtime.telemetry.otlp_json import spans_of
from antiphon.runtime.whatif.testing import MS, T0_NS
from antiphon.runtime.whatif.trace import Trace
from antiphon.schemas.finding import Finding, FindingState
from antiphon.schemas.telemetry import SpanRecord, TelemetryBatch

DATA = Path(__file__).parents[2] / "data" / "foreign"
PROGRAMS = ("langgraph", "pydantic_ai", "openai_agents")
LONG = "".join(f"Rule {number}: prefer the train where it takes less than {number} hours. " for number in range(90))
TOKENS = {"gen_ai.usage.input_tokens": 2_000, "gen_ai.usage.cache_read.input_tokens": 0}

KEY = "3"  # which of eight prompts goes to which of two servers hangs on their hashes; with this one half go to each

Plant = Callable[[list[SpanRecord], int], list[SpanRecord]]


def program(name: str) -> list[SpanRecord]:
    """The recorded spans of a program, by start."""
    return sorted(spans_of(json.loads((DATA / f"{name}.json").read_text())), key=lambda span: span.start_ns)


def copy_of(spans: list[SpanRecord], number: int, at_ns: int) -> list[SpanRecord]:
    """The same run another time: other ids, other times."""
    shift = at_ns - min(span.start_ns for span in spans)
    salt = (number + 1).to_bytes(8, "big")

    def renamed(span_id: bytes | None) -> bytes | None:
        return None if span_id is None else bytes(a ^ b for a, b in zip(span_id, salt, strict=True))

    return [
        replace(
            span,
            trace_id=salt + bytes(8),
            span_id=renamed(span.span_id) or b"",
            parent_id=renamed(span.parent_id),
            start_ns=span.start_ns + shift,
            end_ns=span.end_ns + shift,
            attributes=dict(span.attributes),
        )
        for span in spans
    ]


def found_in(spans: list[SpanRecord], plant: Plant | None, *, runs: int = 28, every_ms: int = 10_000) -> list[Finding]:
    """Open findings of all detectors over so many runs."""
    core = LoggingCore(rng=random.Random(1), content_hash=ContentHash(KEY))
    last: dict[str, Finding] = {}
    for number in range(runs):
        made = copy_of(spans, number, T0_NS + number * every_ms * MS)
        made = made if plant is None else plant(made, number)
        now_ns = max(span.end_ns for span in made)
        core.feed(TelemetryBatch(node="n1", sequence=number + 1, spans=made), now_ns)
        last.update((finding.id, finding) for finding in core.tick(now_ns))
    last.update((finding.id, finding) for finding in core.tick(T0_NS + (runs * every_ms + 100_000) * MS))
    return [finding for finding in last.values() if finding.state is FindingState.OPEN]


def patterns(findings: list[Finding]) -> set[str]:
    """Which patterns were found."""
    return {finding.pattern for finding in findings}


def is_call(span: SpanRecord, operation: str) -> bool:
    """Whether it is a span of that GenAI operation."""
    return bool(span.attributes.get("gen_ai.operation.name") == operation)


def placed(span: SpanRecord, root: SpanRecord, number: int, start_ms: float, end_ms: float, **more: Any) -> SpanRecord:
    """A copy of a call below ``root`` at other times; ``__`` in a keyword stands for a dot."""
    attributes = span.attributes | {key.replace("__", "."): value for key, value in more.items()}
    start_ns, end_ns = (root.start_ns + int(ms * MS) for ms in (start_ms, end_ms))
    span_id = bytes(a ^ b for a, b in zip(root.span_id, (number + 1).to_bytes(8, "little"), strict=True))
    return replace(
        span, span_id=span_id, parent_id=root.span_id, start_ns=start_ns, end_ns=end_ns, attributes=attributes
    )


def instructions(text: str) -> str:
    """A system prompt as the GenAI conventions write it."""
    return json.dumps([{"type": "text", "content": text}])


def serial_models(made: list[SpanRecord], number: int) -> list[SpanRecord]:
    """Two model calls with prompts of their own, one after the other, in this order or that."""
    root, chat = made[0], next(span for span in made if is_call(span, "chat"))
    first, second = ("Translate.", "Count.") if number % 2 else ("Count.", "Translate.")
    return [
        replace(root, end_ns=root.start_ns + 805 * MS),
        placed(chat, root, 0, 2, 402, gen_ai__system_instructions=instructions(first)),
        placed(chat, root, 1, 403, 803, gen_ai__system_instructions=instructions(second)),
    ]


def one_by_one(made: list[SpanRecord], number: int) -> list[SpanRecord]:
    """Eight tool calls in a row, each with another argument."""
    root, tool = made[0], next(span for span in made if is_call(span, "execute_tool"))
    calls = [
        placed(tool, root, i, 60 * i, 60 * i + 55, gen_ai__tool__call__arguments=json.dumps({"city": f"{number}-{i}"}))
        for i in range(8)
    ]
    return [replace(root, end_ns=calls[-1].end_ns), *calls]


def asking_again(made: list[SpanRecord], number: int) -> list[SpanRecord]:
    """The model looks up the same thing three times and reads the same answer."""
    lookup = next(span for span in made if is_call(span, "execute_tool"))
    search = lookup.attributes | {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.tool.call.arguments": f'{{"n":{number}}}',
    }
    return [replace(span, attributes=search) if is_call(span, "execute_tool") else span for span in made]


def dated_prompt(made: list[SpanRecord], number: int) -> list[SpanRecord]:
    """A date at the beginning of a long prompt."""
    root, chat = made[0], next(span for span in made if is_call(span, "chat"))
    messages = json.dumps([{"role": "user", "parts": [{"type": "text", "content": LONG}]}])
    dated = {"gen_ai.system_instructions": instructions(f"It is {number} o'clock."), "gen_ai.input.messages": messages}
    return [root, placed(chat, root, 0, 1, 300, **dated, **TOKENS)]


def spread(made: list[SpanRecord], number: int) -> list[SpanRecord]:
    """Each of eight long prompts goes to either of two servers, which both compute it when they first see it."""
    root, chat = made[0], next(span for span in made if is_call(span, "chat"))
    messages = [{"role": "user", "parts": [{"type": "text", "content": f"Topic {number // 2 % 8}. {LONG}"}]}]
    server = {"server.address": f"gpu-{number % 2}", "gen_ai.input.messages": json.dumps(messages)}
    cached = 0 if number < 16 else 1_280
    usage = TOKENS | {"gen_ai.usage.cache_read.input_tokens": cached}
    return [root, placed(chat, root, 0, 1, 50 + 0.15 * (2_000 - cached), **server, **usage)]


def never_called(made: list[SpanRecord], number: int) -> list[SpanRecord]:
    """A third tool is offered and not used."""
    for span in made:
        if is_call(span, "chat"):
            offered = json.loads(span.attributes["gen_ai.tool.definitions"])
            offered.append({**offered[0], "name": "book_train", "description": "Books a seat. " * 40})
            span.attributes["gen_ai.tool.definitions"] = json.dumps(offered)
    return made


def straggler(made: list[SpanRecord], number: int) -> list[SpanRecord]:
    """Four lookups at once; now and then one takes twenty times as long."""
    root, lookup = made[0], next(span for span in made if is_call(span, "execute_tool"))
    calls = [
        placed(
            lookup,
            root,
            i,
            1,
            2_000 if i == 2 and number % 5 == 4 else 100,
            gen_ai__operation__name="retrieval",
            gen_ai__tool__call__arguments=json.dumps({"city": f"{number}-{i}"}),
        )
        for i in range(4)
    ]
    return [replace(root, end_ns=max(call.end_ns for call in calls) + 5 * MS), *calls]


REPLY = "The sky is blue because the air scatters short waves far more than it scatters long ones. " * 6


def unused_lookup(made: list[SpanRecord], number: int) -> list[SpanRecord]:
    """Something long is looked up first, and nothing is made of it."""
    root, lookup = made[0], next(span for span in made if is_call(span, "execute_tool"))
    spare = placed(lookup, root, 0, 1, 301, gen_ai__operation__name="retrieval", gen_ai__tool__name="recall")
    spare.attributes["gen_ai.tool.call.result"] = f"Entry {number}. " + REPLY
    shifted = [replace(s, start_ns=s.start_ns + 300 * MS, end_ns=s.end_ns + 300 * MS) for s in made[1:]]
    return [replace(root, end_ns=root.end_ns + 300 * MS), spare, *shifted]


def late_consumer(made: list[SpanRecord], number: int) -> list[SpanRecord]:
    """A text that came in chunks is looked up when all of it is there."""
    root = made[0]
    chat, lookup = (next(span for span in made if is_call(span, kind)) for kind in ("chat", "execute_tool"))
    said = [{"role": "assistant", "parts": [{"type": "text", "content": REPLY}], "finish_reason": "stop"}]
    wrote = placed(chat, root, 0, 1, 1_001, gen_ai__output__messages=json.dumps(said))
    wrote.attributes |= {
        "gen_ai.response.time_to_first_chunk": 0.1,
        "gen_ai.usage.output_tokens": 120,
        "gen_ai.response.finish_reasons": ["stop"],
    }
    reads = placed(lookup, root, 1, 1_003, 2_003, gen_ai__operation__name="retrieval", gen_ai__tool__name="recall")
    reads.attributes["gen_ai.tool.call.arguments"] = json.dumps({"text": REPLY})
    return [replace(root, end_ns=root.start_ns + 2_010 * MS), wrote, reads]


def test_repeated_runs_of_each_program_repeat_their_model_calls() -> None:
    """The same prompts at temperature 0 were answered alike in every run: a cache would serve them (P4)."""
    for name in PROGRAMS:
        found = [finding for finding in found_in(program(name), None) if finding.pattern == "p4"]
        assert [finding.subject for finding in found] == ["model gpt-4o-mini"], name


def test_runs_at_the_same_time_make_duplicates() -> None:
    """The same model call is in flight twice (P3)."""
    for name in PROGRAMS:
        assert "p3" in patterns(found_in(program(name), None, every_ms=20)), name


@pytest.fixture(scope="module")
def unplanted() -> set[str]:
    """What is found in the pydantic-ai program as it is."""
    return patterns(found_in(program("pydantic_ai"), None))


@pytest.mark.parametrize(
    ("pattern", "plant", "subject"),
    [
        ("p1", serial_models, "planner.run"),
        ("p2", one_by_one, "tool get_weather"),
        ("p6", asking_again, "tool get_weather"),
        ("p8", dated_prompt, "planner.run"),
        ("p9", spread, "model gpt-4o-mini"),
        ("p10", never_called, "planner.run"),
        ("p15", unused_lookup, "tool recall"),
        ("p21", late_consumer, "planner.run"),
        ("p16", straggler, "tool get_weather"),
    ],
)
def test_a_planted_waste_is_found(pattern: str, plant: Plant, subject: str, unplanted: set[str]) -> None:
    """In copies of the pydantic-ai program, and not in the program as it is."""
    found = [finding for finding in found_in(program("pydantic_ai"), plant) if finding.pattern == pattern]
    assert found and any(subject in f"{finding.subject} {finding.title}" for finding in found)
    assert pattern not in unplanted


def test_what_lacks_evidence_is_silent() -> None:
    """Queues, timeouts, groups and which fields were read: no such trace says it, however much is going on."""
    silent = {"p11", "p14", "p17", "p19", "p20", "p25"}
    for name in PROGRAMS:
        assert not silent & patterns(found_in(program(name), None, every_ms=20)), name


def test_an_undeclared_tool_is_taken_for_one_that_writes() -> None:
    """The repeated weather call is no finding until the program says that it only reads."""
    spans = program("pydantic_ai")

    def declared(made: list[SpanRecord], number: int) -> list[SpanRecord]:
        return [
            replace(span, attributes=span.attributes | {"antiphon.effect": "read"})
            if is_call(span, "execute_tool")
            else span
            for span in made
        ]

    def tools(findings: list[Finding]) -> set[str]:
        return {finding.subject for finding in findings if finding.pattern == "p4" and "tool" in finding.subject}

    assert not tools(found_in(spans, None))
    assert "tool get_weather" in tools(found_in(spans, declared))


def hashes_of(content_hash: ContentHash | None = None) -> set[object]:
    """The content hashes on one program's spans, as a core's detectors see them."""
    seen: list[Trace] = []
    core = LoggingCore(rng=random.Random(1), seen=seen.append, content_hash=content_hash)
    core.feed(TelemetryBatch(node="n1", sequence=1, spans=program("pydantic_ai")), T0_NS)
    core.tick(T0_NS + 100_000 * MS)
    return {step.span.attributes.get("antiphon.input.sha256") for trace in seen for step in trace.steps} - {None}


def test_contents_are_hashed_with_a_key_that_cannot_be_guessed() -> None:
    """The deployment's, as its own spans are; without one, another in each core, whatever the seed."""
    assert len(hashes_of()) >= 5
    assert hashes_of().isdisjoint(hashes_of())
    assert hashes_of(ContentHash("ours")) == hashes_of(ContentHash("ours"))
    assert hashes_of(ContentHash("ours")).isdisjoint(hashes_of(ContentHash("theirs")))
