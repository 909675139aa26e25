"""The span of an operation: its name, its parent and the facts that detectors need."""

from typing import Any

from antiphon import Agent, Context, Message, System, tool
from antiphon.runtime.models.scripted import ScriptedModel
from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.testing import memory_system
from antiphon.schemas.telemetry import SpanRecord


class Note(Message):
    """A text."""

    text: str


@tool(effect="read", ttl="10m")
async def search(query: str) -> str:
    """Something that is long enough to be recognised."""
    return f"found: {query} in the notes"


async def spans_of_one_run() -> dict[str, SpanRecord]:
    """One of each operation; finished spans by name."""
    agent = Agent("a", tools=[search])
    found: dict[str, SpanRecord] = {}

    @agent.handles
    async def echo(message: Note, ctx: Context) -> Note:
        return message

    @agent.handles
    async def work(message: Note, ctx: Context) -> Note:
        passage = await ctx.tool(search, message.text)
        text = await ctx.model.generate(str, f"Rewrite: {passage}")
        await ctx.state.put("last", Note(text=text))

        async def charge() -> int:
            raise OSError("no money")

        try:
            await ctx.run("charge", charge)
        except OSError:
            await ctx.ask(echo, Note(text=text))
        return Note(text=text)

    def collect(batch: Any) -> None:
        found.update((span.name, span) for span in batch.spans if span.end_ns)

    models = {"smollm2-135m": ScriptedModel(["a reply of the model"])}
    async with memory_system(System("s", agents=[agent]), models=models, spans=collect) as client:
        await client.ask(work, Note(text="sky"))
    return found


async def test_every_operation_has_a_span_with_its_place_and_its_effect() -> None:
    """Paths ascend; tools say their ttl, models whether they repeat themselves; failures their type."""
    spans = await spans_of_one_run()
    a = {name: span.attributes for name, span in spans.items()}
    found = {
        a[name][names.PATH]: (name, a[name][names.EFFECT])
        for name in ("execute_tool search", "chat smollm2-135m", "state put", "run charge")
    }
    assert found == {
        "1": ("execute_tool search", "read"),
        "2": ("chat smollm2-135m", "pure"),
        "3": ("state put", "write"),
        "4": ("run charge", "write"),
    }
    assert a["execute_tool search"][names.TOOL_TTL_S] == 600.0
    assert a["execute_tool search"][names.DETERMINISTIC] is False
    assert a["chat smollm2-135m"][names.DETERMINISTIC] is True
    assert (spans["run charge"].status, a["run charge"][names.ERROR_TYPE]) == (2, "OSError")
    for name, _ in found.values():
        assert a[name][names.INPUT_HASH]
        assert (names.RESULT_HASH in a[name]) is (name in ("execute_tool search", "chat smollm2-135m"))


async def test_causes_name_the_operations_whose_text_was_used() -> None:
    """The model call used the tool's passage, the ask the model's reply."""
    spans = await spans_of_one_run()
    chat, search_span = spans["chat smollm2-135m"], spans["execute_tool search"]
    assert search_span.attributes[names.CAUSES] == []
    assert chat.attributes[names.CAUSES] == [search_span.span_id.hex()]
    asks = [span for name, span in spans.items() if name.startswith("publish") and span.parent_id is not None]
    assert asks[0].attributes[names.CAUSES] == [chat.span_id.hex()]
