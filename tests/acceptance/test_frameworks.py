"""Agents of other frameworks, hosted: whatever operation a worker dies in, no finished model call is made again."""

import asyncio
import importlib
import json
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from antiphon.runtime.client import Client
from antiphon.runtime.compose import open_host
from antiphon.runtime.models.registry import ModelRegistry
from antiphon.runtime.models.scripted import Line, ScriptedModel
from antiphon.runtime.node import Node
from antiphon.runtime.settings import Settings
from antiphon.runtime.testing import MemoryCluster, memory_cluster, run_virtual
from antiphon.schemas.inference import Chunk, GenerateRequest, ToolCall, ToolResult
from antiphon.schemas.telemetry import SpanRecord, TelemetryBatch

EXAMPLES = Path(__file__).parents[2] / "examples" / "frameworks"
MODEL = "smollm2-135m"


def example(name: str) -> Any:
    """The example's module, as ``antiphon run`` would import it."""
    if str(EXAMPLES) not in sys.path:
        sys.path.insert(0, str(EXAMPLES))
    module: ModuleType = importlib.import_module(name)
    return module


class Deadly(ScriptedModel):
    """In its call number ``cut`` (from 1) it takes its node down, before it has said anything."""

    def __init__(self, script: Callable[[GenerateRequest], Line], *, cut: int = 0) -> None:
        super().__init__(script)
        self.cut = cut
        self.cluster: MemoryCluster | None = None

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """See ScriptedModel."""
        if len(self.requests) + 1 == self.cut and self.cluster is not None:
            self.requests.append(request)
            await self.cluster.kill(self.cluster.here)
        async for chunk in super().generate(request):
            yield chunk


def draw(request: GenerateRequest) -> Line:
    """What the graph's model says: two versions are too long, the third is not asked about."""
    asked = request.conversation[-1].text
    if asked.startswith("Is this short?"):
        return "no"
    return "shorter" if asked.startswith("Write this again") else f"long, from {asked.splitlines()[0]}"


def serve(request: GenerateRequest) -> Line:
    """What the shop's model says: first it looks, then it answers."""
    found = [part for turn in request.conversation for part in turn.parts if isinstance(part, ToolResult)]
    if not found:
        return ToolCall(id="c1", name="order_status", arguments={"order": 17})
    return json.dumps({"text": found[-1].content, "order": 17})


CASES = [
    ("langgraph_agent", "run", "Why is the sky blue?", draw, {"text": "shorter", "revisions": 2}, 5, "search_notes"),
    (
        "pydantic_ai_agent",
        "answer",
        "Where is order 17?",
        serve,
        {"text": "on its way, arrives on Friday", "order": 17},
        2,
        "look_up",
    ),
]
CUTS = [(case, cut) for case in CASES for cut in range(case[5] + 1)]


@pytest.mark.parametrize(("case", "cut"), CUTS, ids=[f"{case[0]}-{cut}" for case, cut in CUTS])
def test_a_worker_that_dies_in_a_model_call_costs_that_call_alone(case: Any, cut: int) -> None:
    """For every call it may die in (0: it does not): the same answer, and all other calls are made once."""
    name, handler, text, script, expected, calls, tool = case
    module = example(name)
    spans: list[SpanRecord] = []

    def sink(batch: TelemetryBatch) -> None:
        spans.extend(batch.spans)

    async def main() -> Any:
        model = Deadly(script, cut=cut)
        async with memory_cluster(module.system, models={MODEL: model}, nodes=2, spans=sink) as cluster:
            model.cluster = cluster
            task = await cluster.client.submit(getattr(module, handler), module.Question(text=text))
            return (await task.result()).model_dump(), len(model.requests)

    answer, made = run_virtual(main(), seed=cut)
    assert answer == expected
    assert made == calls + (1 if cut else 0)
    if cut:
        return  # what the dead node saw in its last 0.1 s has gone with it
    process = {span.span_id for span in spans if span.end_ns and span.name.startswith("process ")}
    chats = [span.parent_id for span in spans if span.attributes.get("gen_ai.operation.name") == "chat"]
    tools = [span.parent_id for span in spans if span.attributes.get("gen_ai.tool.name") == tool]
    assert (len(chats), len(tools)) == (calls, 1)
    assert {*chats, *tools} == process


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
async def test_a_hosted_agent_works_on_a_real_server(case: Any, tmp_path: Path) -> None:
    """Submitted as any other durable work."""
    name, handler, text, script, expected, calls, _ = case
    module = example(name)
    model = ScriptedModel(script)
    settings = Settings(home=tmp_path)
    registry = ModelRegistry(settings, instances={MODEL: model})
    async with (
        open_host(settings, node="node-under-test", models=registry) as host,
        Node(host, module.system.agents, drain_s=1.0),
        asyncio.timeout(240),
    ):
        task = await Client(host).submit(getattr(module, handler), module.Question(text=text))
        assert (await task.result()).model_dump() == expected
    assert len(model.requests) == calls
