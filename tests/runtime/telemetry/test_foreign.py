"""Spans of LangGraph, pydantic-ai and openai-agents programs, and of single vocabularies, in our terms."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.telemetry.foreign import mapped
from antiphon.runtime.telemetry.foreign_trace import FOREIGN, joined
from antiphon.runtime.telemetry.hashing import ContentHash
from antiphon.runtime.telemetry.otlp_json import spans_of
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.trace import Trace, build
from antiphon.schemas.telemetry import SpanEvent, SpanRecord

DATA = Path(__file__).parents[2] / "data" / "foreign"
HASH = ContentHash("key")
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}


def span(attributes: dict[str, Any], **parts: Any) -> SpanRecord:
    """A finished span with a parent."""
    return SpanRecord(
        **{
            "trace_id": bytes(16),
            "span_id": b"12345678",
            "parent_id": b"abcdefgh",
            "name": "n",
            "start_ns": 1,
            "end_ns": 2,
            "attributes": attributes,
            **parts,
        }
    )


def facts_of(attributes: dict[str, Any], **parts: Any) -> dict[str, Any]:
    """The mapped span's attributes."""
    return mapped(span(attributes, **parts), HASH).attributes


def trace_of(name: str) -> Trace:
    """A recorded program's trace."""
    spans = [mapped(each, HASH) for each in spans_of(json.loads((DATA / f"{name}.json").read_text()))]
    built = build(joined([(each, "n1") for each in spans]))
    assert built is not None
    return built


@pytest.mark.parametrize(
    ("program", "root", "model_owner", "tool_owner"),
    [
        ("langgraph", "planner.run", "agent.run", "planner.run"),
        ("pydantic_ai", "planner.run", "planner.run", "planner.run"),
        ("openai_agents", "Agent workflow.run", "planner.run", "planner.run"),
    ],
)
def test_a_program_becomes_a_tree_of_agents_models_and_tools(
    program: str, root: str, model_owner: str, tool_owner: str
) -> None:
    """Each made four model calls and three tool calls, in turn; the second weather call repeats the first."""
    trace = trace_of(program)
    models = [step for step in trace.steps if step.operation == facts.MODEL]
    tools = [step for step in trace.steps if step.operation == facts.TOOL]

    assert trace.label == root
    assert [step.label for step in models] == ["model gpt-4o-mini"] * 4
    assert [step.label for step in tools] == ["tool get_weather", "tool find_hotels", "tool get_weather"]
    assert {owner.label for step in models if (owner := trace.owner(step.index))} == {model_owner}
    assert {owner.label for step in tools if (owner := trace.owner(step.index))} == {tool_owner}
    hashes = [facts.text(step.span, attr.INPUT_HASH) for step in tools]
    results = [facts.text(step.span, attr.RESULT_HASH) for step in tools]
    assert hashes[0] == hashes[2] != hashes[1] and results[0] == results[2] != results[1]
    assert all(step.span.attributes[attr.DETERMINISTIC] for step in models), "temperature 0"
    assert all(attr.EFFECT not in step.span.attributes for step in tools), "nobody said what they do"


@pytest.mark.parametrize("program", ["langgraph", "pydantic_ai", "openai_agents"])
def test_prompts_and_usage_are_told(program: str) -> None:
    """Tokens grow, segments keep their beginning, both tools were offered where the span says so."""
    calls = [step.span.attributes for step in trace_of(program).steps if step.operation == facts.MODEL]
    tokens = [call[attr.GENAI_INPUT_TOKENS] for call in calls]
    segments = [call[attr.PROMPT_SEGMENTS] for call in calls]

    assert tokens == sorted(tokens) and tokens[0] > 0 and {call[attr.GENAI_OUTPUT_TOKENS] for call in calls} == {20}
    assert [segment.split(":")[0] for segment in segments[0]] == ["system", "user"]
    assert all(later[: len(before)] == before for before, later in pairwise(segments))
    assert len({call[attr.INPUT_HASH] for call in calls}) == 4
    if program != "openai_agents":  # OpenInference's spans of openai-agents have neither
        assert [call.get(attr.GENAI_CACHED_TOKENS, 0) for call in calls] == [0, 256, 256, 256]
        assert [call[attr.GENAI_FINISH_REASONS] for call in calls] == [["tool_calls"]] * 3 + [["stop"]]
        assert [item.split(":")[0] for item in calls[0][attr.PROMPT_TOOLS]] == ["get_weather", "find_hotels"]


@pytest.mark.parametrize("program", ["langgraph", "pydantic_ai", "openai_agents"])
def test_no_content_is_kept(program: str) -> None:
    """What people and models said is nowhere in the mapped spans of models, tools and agents."""
    kept = repr([step.span for step in trace_of(program).steps if step.operation])
    assert "Lisbon" not in kept and "Alfama" not in kept and "short trips" not in kept


OLD = CHAT | {"gen_ai.system": "openai", "gen_ai.usage.prompt_tokens": 7, "gen_ai.usage.completion_tokens": 3}
NEW = CHAT | {"gen_ai.provider.name": "openai", "gen_ai.usage.input_tokens": 7, "gen_ai.usage.output_tokens": 3}
TRACELOOP = {
    "llm.request.type": "chat",
    "gen_ai.system": "OpenAI",
    "gen_ai.request.model": "m",
    "gen_ai.usage.prompt_tokens": 7,
    "gen_ai.usage.completion_tokens": 3,
}
OPENINFERENCE = {
    "openinference.span.kind": "LLM",
    "llm.model_name": "m",
    "llm.token_count.prompt": 7.0,
    "llm.token_count.completion": 3,
}
OLDEST = {key: value for key, value in OLD.items() if key != "gen_ai.operation.name"}


@pytest.mark.parametrize("given", [OLD, NEW, TRACELOOP, OPENINFERENCE, OLDEST])
def test_every_spelling_of_a_model_call_says_the_same(given: dict[str, Any]) -> None:
    """Operation, model and tokens, by any of the names."""
    found = mapped(span(given), HASH)
    assert (facts.operation(found), facts.label(found)) == ("model", "model m")
    assert (found.attributes[attr.GENAI_INPUT_TOKENS], found.attributes[attr.GENAI_OUTPUT_TOKENS]) == (7, 3)
    assert attr.DETERMINISTIC not in found.attributes, "no temperature was given"
    assert attr.INPUT_HASH not in found.attributes, "no content was given"


def message(role: str, text: str) -> str:
    """A message of the newer GenAI conventions."""
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])


PROMPTS = [
    {
        "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be brief."}]),
        "gen_ai.input.messages": message("user", "Why?"),
        "gen_ai.output.messages": message("assistant", "So."),
    },
    {
        "gen_ai.prompt.0.role": "system",
        "gen_ai.prompt.0.content": "Be brief.",
        "gen_ai.prompt.1.role": "user",
        "gen_ai.prompt.1.content": "Why?",
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.content": "So.",
        "gen_ai.completion.0.finish_reason": "stop",
    },
    {
        "llm.input_messages.0.message.role": "system",
        "llm.input_messages.0.message.content": "Be brief.",
        "llm.input_messages.1.message.role": "user",
        "llm.input_messages.1.message.content": "Why?",
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": "So.",
    },
]
EVENTS = [
    SpanEvent(name="gen_ai.system.message", unix_ns=1, attributes={"gen_ai.system": "x", "content": "Be brief."}),
    SpanEvent(name="gen_ai.user.message", unix_ns=1, attributes={"gen_ai.system": "x", "content": "Why?"}),
]


def test_messages_are_the_same_however_they_are_written() -> None:
    """JSON, numbered attributes of two kinds and events give the same segments and the same hashes."""
    found = [facts_of(CHAT | prompt) for prompt in PROMPTS]
    assert len({tuple(each[attr.PROMPT_SEGMENTS]) for each in found}) == 1
    assert len({each[attr.INPUT_HASH] for each in found}) == len({each[attr.RESULT_HASH] for each in found}) == 1
    assert facts_of(CHAT, events=EVENTS)[attr.PROMPT_SEGMENTS] == found[0][attr.PROMPT_SEGMENTS]
    system, user = found[0][attr.PROMPT_SEGMENTS]
    assert system.startswith("system:9:") and user.startswith("user:4:")


@pytest.mark.parametrize(
    "change",
    [
        {"gen_ai.request.temperature": 0.5},
        {"gen_ai.request.model": "other"},
        {"gen_ai.request.seed": 1},
        {"gen_ai.input.messages": message("user", "Why not?")},
    ],
)
def test_another_request_has_another_hash(change: dict[str, Any]) -> None:
    """Model, settings and text all count; ids of tool calls do not."""
    base = CHAT | PROMPTS[0]
    assert facts_of(base | change)[attr.INPUT_HASH] != facts_of(base)[attr.INPUT_HASH]
    call = [{"role": "assistant", "parts": [{"type": "tool_call", "id": "call_1", "name": "f", "arguments": {}}]}]
    one = facts_of(CHAT | {"gen_ai.input.messages": json.dumps(call)})
    two = facts_of(CHAT | {"gen_ai.input.messages": json.dumps(call).replace("call_1", "call_2")})
    assert one[attr.INPUT_HASH] == two[attr.INPUT_HASH]


def test_content_that_was_cut_has_no_hash() -> None:
    """Half a JSON text is no content: an equal beginning proves nothing."""
    cut = facts_of(CHAT | {"gen_ai.input.messages": message("user", "Why?")[:-4]})
    assert attr.INPUT_HASH not in cut and attr.PROMPT_SEGMENTS not in cut
    tool = {"openinference.span.kind": "TOOL", "tool.name": "f", "input.value": '{"city": "Lis', "output.value": "x"}
    assert attr.INPUT_HASH not in facts_of(tool) and attr.RESULT_HASH in facts_of(tool)


def test_a_long_prompt_has_rolling_blocks() -> None:
    """Two prompts share block i exactly if they share all up to it."""
    text = "".join(f"{number:07d} " for number in range(600))
    one = facts_of(CHAT | {"gen_ai.input.messages": message("user", text)})[attr.PROMPT_BLOCKS]
    two = facts_of(CHAT | {"gen_ai.input.messages": message("user", text[:2500] + "!" + text[2501:])})[
        attr.PROMPT_BLOCKS
    ]
    assert len(one) == len(two) == 4
    assert [a == b for a, b in zip(one, two, strict=True)] == [True, True, False, False]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "f"}, "f"),
        ({"openinference.span.kind": "TOOL", "tool.name": "f"}, "f"),
        ({"traceloop.span.kind": "tool", "traceloop.entity.name": "f"}, "f"),
        ({"gen_ai.operation.name": "execute_tool"}, "look up"),
    ],
)
def test_tools_have_a_name_and_no_effect_that_nobody_declared(given: dict[str, Any], name: str) -> None:
    """By any vocabulary; the span's name where it says none; a declared effect is kept."""
    found = mapped(span(given, name="execute_tool look up"), HASH)
    assert (facts.operation(found), facts.label(found)) == ("tool", f"tool {name}")
    assert attr.EFFECT not in found.attributes
    assert facts_of(given | {attr.EFFECT: "read"})[attr.EFFECT] == "read"


def test_retrieving_is_reading() -> None:
    """A retriever is a tool that reads; equal arguments are equal in any order of their keys."""
    one = facts_of({"openinference.span.kind": "RETRIEVER", "input.value": '{"a": 1, "b": 2}'}, name="search")
    two = facts_of({"openinference.span.kind": "RETRIEVER", "input.value": '{"b":2,"a":1}'}, name="search")
    assert (one[attr.GENAI_TOOL_NAME], one[attr.EFFECT]) == ("search", "read")
    assert one[attr.INPUT_HASH] == two[attr.INPUT_HASH]


def test_agents_and_the_outermost_step_are_handlers() -> None:
    """An agent by its name; a chain, task or workflow only where nothing is above it."""
    for said in (
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "a"},
        {"openinference.span.kind": "AGENT", "agent.name": "a"},
        {"traceloop.span.kind": "agent", "traceloop.entity.name": "a"},
    ):
        assert facts.label(mapped(span(said), HASH)) == "a.run"
    chain = span({"openinference.span.kind": "CHAIN"}, name="graph")
    assert facts.operation(mapped(chain, HASH)) == ""
    assert facts.label(mapped(replace(chain, parent_id=None), HASH)) == "graph.run"


def test_errors_are_named() -> None:
    """By error.type, which says that it failed, or the exception on a span of status error."""
    failed = mapped(span(CHAT | {"error.type": "timeout"}), HASH)
    assert (failed.status, failed.attributes[attr.ERROR_TYPE]) == (2, "timeout")
    event = SpanEvent(name="exception", unix_ns=1, attributes={"exception.type": "OSError"})
    found = mapped(span(CHAT, status=2, events=[event]), HASH)
    assert found.attributes[attr.ERROR_TYPE] == "OSError" and found.events == [event]


def test_the_server_of_a_model_is_its_pool() -> None:
    """Two addresses of one model are two replicas; without an address nothing is said."""
    given = CHAT | {"server.address": "gpu-1", "server.port": 8000}
    assert facts_of(given)[attr.POOL_ID] == "model:m@gpu-1:8000"
    assert attr.POOL_ID not in facts_of(CHAT)


@pytest.mark.parametrize(
    "given",
    [
        {attr.HANDLER: "run", **CHAT},
        {attr.OPERATION: "model", **CHAT},
        {"http.request.method": "GET"},
        {},
    ],
)
def test_ours_and_others_are_left_alone(given: dict[str, Any]) -> None:
    """The same object comes back."""
    one = span(given)
    assert mapped(one, HASH) is one


SECRET = "the third stone"


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"openinference.span.kind": "GUARDRAIL", "input.value": SECRET}, {"openinference.span.kind": "GUARDRAIL"}),
        ({"openinference.span.kind": "EVALUATOR", "output.value": SECRET}, {"openinference.span.kind": "EVALUATOR"}),
        ({"gen_ai.operation.name": "create_agent", "gen_ai.system_instructions": SECRET},
         {"gen_ai.operation.name": "create_agent"}),
        ({"gen_ai.system": "openai", "gen_ai.request.model": "m", "gen_ai.prompt.0.content": SECRET},
         {"gen_ai.system": "openai", "gen_ai.request.model": "m"}),  # it failed, and has no count of tokens
        ({"gen_ai.request.model": "m", "gen_ai.completion.0.content": SECRET}, {"gen_ai.request.model": "m"}),
        ({"input.value": SECRET, "user": "ada"}, {"user": "ada"}),
    ],
)  # fmt: skip
def test_what_has_no_counterpart_loses_its_contents(given: dict[str, Any], left: dict[str, Any]) -> None:
    """It is what it was, without what was said; exceptions stay."""
    failed = SpanEvent(name="exception", unix_ns=1, attributes={"exception.type": "OSError"})
    said = SpanEvent(name="gen_ai.user.message", unix_ns=1, attributes={"content": SECRET})
    found = mapped(span(given, events=[said, failed]), HASH)
    assert (found.name, found.events, facts.operation(found)) == ("n", [failed], "")
    assert {key: value for key, value in found.attributes.items() if key != FOREIGN} == left


def test_the_node_alone_makes_no_span_ours() -> None:
    """The store writes it on whatever it gives back."""
    found = mapped(span({attr.NODE: "n", **CHAT}), HASH).attributes
    assert (found[attr.NODE], found[attr.OPERATION]) == ("n", "model")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        *sorted({*OLD, *OPENINFERENCE, *TRACELOOP, *(key for prompt in PROMPTS for key in prompt)}),
        *("gen_ai.tool.definitions", "llm.invocation_parameters", "llm.tools.0.tool.json_schema", "input.value"),
        *("gen_ai.request.temperature", "gen_ai.prompt.x.content", "gen_ai.prompt.1", "server.address", "error.type"),
    ]
)


@given(st.dictionaries(KEYS, VALUES, max_size=8), st.sampled_from(["chat", "execute_tool", "invoke_agent", "x"]))
def test_hostile_values_are_survived(given: dict[str, Any], operation: str) -> None:
    """Any value under any name gives a span with plain attributes, never an error."""
    given["gen_ai.operation.name"] = operation
    found = mapped(span(given, events=[SpanEvent(name="gen_ai.user.message", unix_ns=1, attributes=given)]), HASH)
    assert found.span_id == b"12345678"
    facts.label(found)


def test_nesting_without_end_is_left_alone() -> None:
    """JSON of a hundred thousand levels costs nothing and breaks nothing."""
    deep = "[" * 100_000 + "]" * 100_000
    found = facts_of(CHAT | {"gen_ai.input.messages": deep})
    assert attr.INPUT_HASH not in found and "gen_ai.input.messages" not in found
