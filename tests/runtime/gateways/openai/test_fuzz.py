"""Whatever is sent, the gateway stands: bodies that are right but for a few fields, and what these may be."""

import asyncio
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from antiphon.runtime.clock import SystemClock
from antiphon.runtime.gateways.openai.app import Gateway
from antiphon.runtime.gateways.openai.requests import ChatRequest, CompletionRequest, EmbeddingRequest
from antiphon.runtime.gateways.openai.served import ServedModel
from antiphon.runtime.models.scripted import ScriptedModel
from antiphon.runtime.models.tool_prompt import PromptedTools

TOKENS = {"web": SecretStr("web-0123456789abcdef")}
USER = {"role": "user", "content": "hi"}
CALL = {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
FORM = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
CASES: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "/v1/chat/completions": (
        ChatRequest,
        {"model": "m", "messages": [USER, CALL, USER], "tools": [TOOL], "response_format": FORM},
    ),
    "/v1/completions": (CompletionRequest, {"model": "m", "prompt": "hi"}),
    "/v1/embeddings": (EmbeddingRequest, {"model": "m", "input": ["hi"]}),
}
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.sampled_from([2**31, 2**63, 2**70, -(2**63)]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["text", "function", "required", "json_schema", "user", "tool", "object", "base64", "flex"]),
)
KEYS = st.sampled_from(
    ["type", "text", "function", "name", "arguments", "role", "content", "id", "properties", "schema", "$ref", "anyOf"]
)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)


def changed(body: Any, value: Any, at: int) -> Any:
    """The body with another value somewhere in it."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> Any:
        copy = {k: walk(v) for k, v in node.items()} if isinstance(node, dict) else node
        copy = [walk(v) for v in node] if isinstance(node, list) else copy
        places.extend(
            (copy, k) for k in (copy if isinstance(copy, dict) else range(len(copy)) if isinstance(copy, list) else ())
        )
        return copy

    new = walk(body)
    parent, key = places[at % len(places)]
    parent[key] = value
    return new


@st.composite
def bodies(draw: st.DrawFn, path: str) -> Any:
    """Right but for a field or two, at any depth."""
    kind, body = CASES[path]
    names = st.sampled_from(sorted({*kind.model_fields, "unheard_of"}))
    body = body | draw(st.dictionaries(names, ANYTHING, max_size=2))
    return changed(body, draw(ANYTHING), draw(st.integers(0, 99))) if draw(st.booleans()) else body


@pytest.mark.parametrize("path", CASES)
def test_no_body_breaks_it(path: str) -> None:
    """200 or 4xx in OpenAI's form, and a stream that began well ends well."""
    model = ScriptedModel(lambda request: '{"answer": "yes"}', embed=lambda text: (1.0,), context_tokens=1_000_000)
    made = {"bodies": 0}
    with asyncio.Runner() as runner:

        async def opened() -> httpx.AsyncClient:
            served = [ServedModel(name="m", instance=PromptedTools(model))]
            app = Gateway(served, TOKENS, clock=SystemClock(), max_body=100_000).app
            headers = {"authorization": "Bearer web-0123456789abcdef"}
            return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://g", headers=headers)

        http = runner.run(opened())

        @settings(max_examples=80, database=None)
        @given(bodies(path))
        def send(body: Any) -> None:
            made["bodies"] += 1
            answer = runner.run(http.post(path, json=body))
            assert answer.status_code in (200, 400, 404), answer.text
            if answer.headers["content-type"].startswith("text/event-stream"):
                assert answer.text.endswith("data: [DONE]\n\n")
            elif answer.status_code != 200:
                assert set(answer.json()["error"]) == {"message", "type", "param", "code"}

        send()
        runner.run(http.aclose())
    assert made["bodies"] >= 80
    assert model.active == 0
