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
KIND = "openinference.span.kind"

KEY = "4"  # which of eight prompts goes to which of two servers hangs on their hashes; with this one half go to each

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
    """Whether it is a span of that GenAI operation, or of the kind that OpenInference calls so."""
    kind = {"chat": "LLM", "execute_tool": "TOOL"}[operation]
    return operation == span.attributes.get("gen_ai.operation.name") or kind == span.attributes.get(KIND)


def first(made: list[SpanRecord], operation: str) -> SpanRecord:
    """The first call of that kind."""
    return next(span for span in made if is_call(span, operation))


def told(
    span: SpanRecord,
    *,
    system: str | None = None,
    prompt: str | None = None,
    tokens: int | None = None,
    cached: int = 0,
    arguments: object = None,
    result: str | None = None,
    tool: str | None = None,
) -> dict[str, Any]:
    """A call's attributes, in the vocabulary of its program, with another prompt, arguments or result.

    ``tool``: its name, of one that only retrieves.
    """
    more: dict[str, Any] = {}
    if KIND not in span.attributes:
        text = None if prompt is None else [{"role": "user", "parts": [{"type": "text", "content": prompt}]}]
        more = {
            "gen_ai.system_instructions": None if system is None else json.dumps([{"type": "text", "content": system}]),
            "gen_ai.input.messages": None if text is None else json.dumps(text),
            "gen_ai.usage.input_tokens": tokens,
            "gen_ai.usage.cache_read.input_tokens": None if tokens is None else cached,
            "gen_ai.tool.call.arguments": None if arguments is None else json.dumps(arguments),
            "gen_ai.tool.call.result": result,
            "gen_ai.operation.name": None if tool is None else "retrieval",
            "gen_ai.tool.name": tool,
        }
        return span.attributes | {name: value for name, value in more.items() if value is not None}
    known = span.attributes
    if system is not None or prompt is not None:
        known = {name: value for name, value in known.items() if not name.startswith(("llm.input_messages", "input."))}
        parts = {"system": system, "user": prompt}
        for i, (role, said) in enumerate((role, said) for role, said in parts.items() if said is not None):
            more |= {f"llm.input_messages.{i}.message.role": role, f"llm.input_messages.{i}.message.content": said}
    more |= {
        "llm.token_count.prompt": tokens,
        "llm.token_count.prompt_details.cache_read": None if tokens is None else cached,
        "input.value": None if arguments is None else json.dumps(arguments),
        "input.mime_type": None if arguments is None else "application/json",
        "output.value": result,
        KIND: None if tool is None else "RETRIEVER",
        "tool.name": tool,
    }
    return known | {name: value for name, value in more.items() if value is not None}


def placed(span: SpanRecord, root: SpanRecord, number: int, start_ms: float, end_ms: float, **said: Any) -> SpanRecord:
    """A copy of a call below ``root`` at other times, ``told`` otherwise."""
    start_ns, end_ns = (root.start_ns + int(ms * MS) for ms in (start_ms, end_ms))
    span_id = bytes(a ^ b for a, b in zip(root.span_id, (number + 1).to_bytes(8, "little"), strict=True))
    return replace(
        span, span_id=span_id, parent_id=root.span_id, start_ns=start_ns, end_ns=end_ns, attributes=told(span, **said)
    )


def serial_models(made: list[SpanRecord], number: int) -> list[SpanRecord]:
    """Two model calls with prompts of their own, one after the other, in this order or that."""
    root, chat = made[0], first(made, "chat")
    before, after = ("Translate.", "Count.") if number % 2 else ("Count.", "Translate.")
    return [
        replace(root, end_ns=root.start_ns + 805 * MS),
        placed(chat, root, 0, 2, 402, system=before, prompt="What?"),
        placed(chat, root, 1, 403, 803, system=after, prompt="What?"),
    ]


def one_by_one(made: list[SpanRecord], number: int) -> list[SpanRecord]:
    """Eight tool calls in a row, each with another argument."""
    root, tool = made[0], first(made, "execute_tool")
    calls = [placed(tool, root, i, 60 * i, 60 * i + 55, arguments={"city": f"{number}-{i}"}) for i in range(8)]
    return [replace(root, end_ns=calls[-1].end_ns), *calls]


def asking_again(made: list[SpanRecord], number: int) -> list[SpanRecord]:
    """The model looks up the same thing three times and reads the same answer."""
    lookup = first(made, "execute_tool")
    search = told(lookup, arguments={"n": number}, tool="get_weather")
    return [replace(span, attributes=search) if is_call(span, "execute_tool") else span for span in made]


def dated_prompt(made: list[SpanRecord], number: int) -> list[SpanRecord]:
    """A date at the beginning of a long prompt."""
    root, chat = made[0], first(made, "chat")
    return [root, placed(chat, root, 0, 1, 300, system=f"It is {number} o'clock.", prompt=LONG, tokens=2_000)]


def spread(made: list[SpanRecord], number: int) -> list[SpanRecord]:
    """Each of eight long prompts goes to either of two servers, which both compute it when they first see it."""
    root, chat = made[0], first(made, "chat")
    cached = 0 if number < 16 else 1_280
    asked = f"Topic {number // 2 % 8}. {LONG}"
    call = placed(chat, root, 0, 1, 50 + 0.15 * (2_000 - cached), prompt=asked, tokens=2_000, cached=cached)
    call.attributes["server.address"] = f"gpu-{number % 2}"
    return [root, call]


def never_called(made: list[SpanRecord], number: int) -> list[SpanRecord]:
    """A third tool is offered and not used."""
    for span in made:
        if not is_call(span, "chat"):
            continue
        more = {"name": "book_train", "description": "Books a seat. " * 40}
        if KIND in span.attributes:
            known = json.loads(span.attributes["llm.tools.0.tool.json_schema"])
            known["function"] |= more
            span.attributes["llm.tools.2.tool.json_schema"] = json.dumps(known)
        else:
            offered = json.loads(span.attributes["gen_ai.tool.definitions"])
            span.attributes["gen_ai.tool.definitions"] = json.dumps([*offered, offered[0] | more])
    return made


def straggler(made: list[SpanRecord], number: int) -> list[SpanRecord]:
    """Four lookups at once; now and then one takes twenty times as long."""
    root, lookup = made[0], first(made, "execute_tool")
    calls = [
        placed(
            lookup,
            root,
            i,
            1,
            2_000 if i == 2 and number % 5 == 4 else 100,
            arguments={"city": f"{number}-{i}"},
            tool="get_weather",
        )
        for i in range(4)
    ]
    return [replace(root, end_ns=max(call.end_ns for call in calls) + 5 * MS), *calls]


REPLY = "The sky is blue because the air scatters short waves far more than it scatters long ones. " * 6


def unused_lookup(made: list[SpanRecord], number: int) -> list[SpanRecord]:
    """Something long is looked up first, and nothing is made of it."""
    root, lookup = made[0], first(made, "execute_tool")
    spare = placed(lookup, root, 0, 1, 301, tool="recall", result=f"Entry {number}. {REPLY}")
    shifted = [replace(s, start_ns=s.start_ns + 300 * MS, end_ns=s.end_ns + 300 * MS) for s in made[1:]]
    return [replace(root, end_ns=root.end_ns + 300 * MS), spare, *shifted]


def late_consumer(made: list[SpanRecord], number: int) -> list[SpanRecord]:
    """A text that came in chunks is looked up when all of it is there."""
    root, chat, lookup = made[0], first(made, "chat"), first(made, "execute_tool")
    said = [{"role": "assistant", "parts": [{"type": "text", "content": REPLY}], "finish_reason": "stop"}]
    wrote = placed(chat, root, 0, 1, 1_001)
    wrote.attributes |= {
        "gen_ai.output.messages": json.dumps(said),
        "gen_ai.response.time_to_first_chunk": 0.1,
        "gen_ai.usage.output_tokens": 120,
        "gen_ai.response.finish_reasons": ["stop"],
    }
    reads = placed(lookup, root, 1, 1_003, 2_003, arguments={"text": REPLY}, tool="recall")
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
def unplanted() -> dict[str, set[str]]:
    """What is found in each program as it is."""
    return {name: patterns(found_in(program(name), None)) for name in PROGRAMS}


HANDLERS = {"langgraph": "planner.run", "pydantic_ai": "planner.run", "openai_agents": "Agent workflow.run"}
ALL, ALONE = PROGRAMS, ("pydantic_ai",)


@pytest.mark.parametrize(
    ("pattern", "plant", "subject", "programs"),
    [
        ("p1", serial_models, "", ALL),
        ("p2", one_by_one, "tool get_weather", ALL),
        ("p6", asking_again, "tool get_weather", ("pydantic_ai", "openai_agents")),  # LangGraph's model is no sibling
        ("p8", dated_prompt, "", ALL),
        ("p9", spread, "model gpt-4o-mini", ALL),
        ("p10", never_called, "", ALONE),  # LangGraph's tools are called elsewhere; the other one does not list them
        ("p15", unused_lookup, "tool recall", ALONE),  # the others' models answer in handlers of their own
        ("p16", straggler, "tool get_weather", ALL),
        ("p21", late_consumer, "", ALONE),  # OpenInference has no time of the first chunk
    ],
)
def test_a_planted_waste_is_found(
    pattern: str, plant: Plant, subject: str, programs: tuple[str, ...], unplanted: dict[str, set[str]]
) -> None:
    """In copies of the programs whose traces can show it, and not in the programs as they are."""
    for name in programs:
        found = [finding for finding in found_in(program(name), plant) if finding.pattern == pattern]
        wanted = subject or HANDLERS[name]
        assert any(wanted in f"{finding.subject} {finding.title}" for finding in found), name
        assert pattern not in unplanted[name]


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
