"""Facts for detectors, each recorded where the runtime knows it."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from antiphon import Agent, Context, Message, System, tool
from antiphon.runtime.delivery.model_call import describe_reply
from antiphon.runtime.fields import is_watched
from antiphon.runtime.models.scripted import ScriptedModel
from antiphon.runtime.settings import Settings
from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.testing import memory_system
from antiphon.schemas.inference import (
    Embeddings,
    EmbedRequest,
    Finish,
    FinishReason,
    GenerateRequest,
    Pages,
    Pool,
    Role,
    Timing,
    Usage,
    turn,
)
from antiphon.schemas.telemetry import SpanRecord

PASSAGE = "Air scatters blue light far more than red light. " * 4


class Note(Message):
    """A text."""

    text: str


class Report(Message):
    """What a searcher found."""

    title: str
    passage: str
    score: float


@tool(effect="read", timeout=5)
async def look(query: str) -> dict[str, str]:
    """Something that is long enough to be recognised."""
    return {"title": f"about {query}", "passage": PASSAGE}


helper = Agent("helper")
asker = Agent("asker", tools=[look])


@helper.handles
async def find(message: Note, ctx: Context) -> Report:
    """A typed reply of three fields."""
    return Report(title="The colour of the sky", passage=PASSAGE, score=0.5)


@helper.handles
async def hang(message: Note, ctx: Context) -> Note:
    """Never answers."""
    await asyncio.Event().wait()
    return message


@asker.handles
async def cite(message: Note, ctx: Context) -> Note:
    """Uses the title alone."""
    report = await ctx.ask(find, message, timeout_s=7)
    return Note(text=f"see {report.title}")


@asker.handles
async def both(message: Note, ctx: Context) -> Note:
    """Two in a gather, then one of two in a group."""
    await ctx.gather(ctx.tool(look, "sky"), ctx.tool(look, "sea"))
    async with ctx.group(quorum=1) as group:
        group.ask(find, message)
        group.ask(hang, message)
    return Note(text="done")


@asker.handles
async def say(message: Note, ctx: Context) -> Report:
    """Asks a model for a typed reply."""
    return await ctx.model.generate(Report, message.text)


@asker.handles
async def index(message: Note, ctx: Context) -> Note:
    """Asks a model for a vector."""
    found = await ctx.model.embed([message.text])
    return Note(text=str(found.vectors))


@asker.handles
async def loop(message: Note, ctx: Context) -> Note:
    """Lets a model use the tool."""
    return Note(text=await ctx.model.run(str, message.text))


@asker.handles
async def show(message: Note, ctx: Context) -> Note:
    """Shows two pieces before its result."""
    await ctx.emit("a")
    await ctx.emit({"b": 1})
    return message


Spans = Callable[..., Any]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Spans:
    """Runs one handler and gives its finished spans; ``watched``: in a run whose field use is recorded, or not."""

    async def run(handler: Any, *, durable: bool = False, watched: bool = False, **kwargs: Any) -> list[SpanRecord]:
        monkeypatch.setattr("antiphon.runtime.context.is_watched", lambda run: watched)
        found: list[SpanRecord] = []
        system = System("s", agents=[helper, asker])
        take = lambda batch: found.extend(span for span in batch.spans if span.end_ns)  # noqa: E731
        async with memory_system(system, spans=take, **kwargs) as client:
            if durable:
                await (await client.submit(handler, Note(text="sky"))).result()
            else:
                await client.ask(handler, Note(text="sky"))
        return found

    return run


def only(spans: list[SpanRecord], **wanted: str) -> SpanRecord:
    """The one span with these attributes; ``__`` stands for a dot."""
    keys = {f"antiphon.{key}": value for key, value in wanted.items()}
    (found,) = [span for span in spans if keys.items() <= span.attributes.items()]
    return found


def handler(spans: list[SpanRecord], name: str) -> dict[str, Any]:
    """The attributes of a handler's process span."""
    return next(span.attributes for span in spans if span.attributes.get(names.HANDLER) == name)


async def test_a_result_has_its_size_its_fields_and_its_causes(seen: Spans) -> None:
    """The peer says how large each field of its reply is, the caller whose content its own result has."""
    spans = await seen(cite)
    found, cited = handler(spans, "find"), handler(spans, "cite")
    asked = only(spans, operation="ask", agent="asker")
    report = Report(title="The colour of the sky", passage=PASSAGE, score=0.5)

    assert found[names.RESULT_SIZE] == len(report.model_dump_json())
    assert [item.split(":")[0] for item in found[names.RESULT_FIELDS]] == ["title", "passage", "score"]
    assert cited[names.RESULT_CAUSES] == [asked.span_id.hex()]
    assert names.RESULT_FIELDS not in cited, "small results have no fields worth a list"
    assert names.RESULT_CAUSES not in found, "it made no operation, so there is nothing to say"


async def test_fields_read_are_recorded_in_watched_runs_only(seen: Spans) -> None:
    """The title went on, the passage did not; the score cannot be told and counts as read."""
    spans = await seen(cite, watched=True)
    asked = only(spans, operation="ask", agent="asker")
    assert handler(spans, "cite")[names.FIELDS_READ] == [f"{asked.span_id.hex()}:title,score"]
    assert names.FIELDS_READ not in handler(await seen(cite), "cite")


async def test_what_the_caller_allowed_is_on_every_operation(seen: Spans) -> None:
    """A timeout of its own where it is nearer than the deadline, the rest of the deadline elsewhere."""
    spans = await seen(cite)
    assert only(spans, operation="ask", agent="asker").attributes[names.TIMEOUT_S] == pytest.approx(7, abs=0.5)
    spans = await seen(both)
    tools = [span for span in spans if span.attributes.get(names.OPERATION) == "tool"]
    assert [span.attributes[names.TIMEOUT_S] for span in tools] == [5.0, 5.0]


async def test_branches_know_their_group_and_whether_anybody_waited(seen: Spans) -> None:
    """Operations of a gather and a group name its path and what it needs; the one that was cut was not consumed."""
    spans = await seen(both)
    tools = [span.attributes for span in spans if span.attributes.get(names.OPERATION) == "tool"]
    made = [span.attributes for span in spans if span.attributes.get(names.AGENT) == "asker"]
    asks = {a[names.MESSAGING_DESTINATION].split(".")[-1]: a for a in made if a.get(names.OPERATION) == "ask"}

    assert {(a[names.GROUP], a[names.GROUP_NEEDED]) for a in tools} == {("3", 2)}
    assert {(a[names.GROUP], a[names.GROUP_NEEDED]) for a in asks.values()} == {("4", 1)}
    assert asks["hang"][names.RESULT_CONSUMED] is False
    assert names.RESULT_CONSUMED not in asks["find"]
    assert all(names.GROUP not in a for a in (handler(spans, "both"), handler(spans, "find")))


async def test_a_typed_model_reply_has_fields_and_they_are_watched(seen: Spans) -> None:
    """Sizes are of the JSON that the model said; passing the reply on reads them all."""
    model = ScriptedModel([Report(title="The colour of the sky", passage=PASSAGE, score=0.5)])
    spans = await seen(say, watched=True, models={"smollm2-135m": model})
    call = only(spans, operation="model")
    assert [item.split(":")[0] for item in call.attributes[names.RESULT_FIELDS]] == ["title", "passage", "score"]
    assert handler(spans, "say")[names.FIELDS_READ] == [f"{call.span_id.hex()}:title,passage,score"]


class Pooled(ScriptedModel):
    """Says what served its vectors."""

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """As ever, after half a second in a queue."""
        served = {"timing": Timing(queue_s=0.5), "pool": Pool(id="model:m@n1", capacity=2, active=1)}
        return (await super().embed(request)).model_copy(update=served)


async def test_vectors_say_what_served_them(seen: Spans) -> None:
    """As replies do, where the instance knows it; equal vectors have equal hashes, whatever served them."""
    plain = ScriptedModel([], embed=lambda text: (1.0, 0.0))
    pooled = Pooled([], embed=lambda text: (1.0, 0.0))
    one, other = [
        only(await seen(index, models={"smollm2-135m": model}), operation="model").attributes
        for model in (plain, pooled)
    ]
    found = [other[name] for name in (names.POOL_ID, names.POOL_CAPACITY, names.POOL_ACTIVE, names.MODEL_QUEUE_S)]
    assert found == ["model:m@n1", 2, 1, 0.5]
    assert names.POOL_ID not in one
    assert one[names.RESULT_SIZE] == other[names.RESULT_SIZE]


async def test_vectors_have_no_fields(seen: Spans) -> None:
    """A watched run that embeds something is as good as any other."""
    model = ScriptedModel([], embed=lambda text: (1.0, 0.0))
    spans = await seen(index, watched=True, models={"smollm2-135m": model})
    assert names.RESULT_FIELDS not in only(spans, operation="model").attributes
    assert names.FIELDS_READ not in handler(spans, "index")


async def test_a_model_call_says_which_tools_it_was_offered_and_what_it_cost(seen: Spans, tmp_path: Any) -> None:
    """Bytes of each tool's description; dollars by the setting's price, nothing where no price is known."""
    priced = {
        "kind": "openai",
        "base_url": "http://localhost:1/v1",
        "model": "m",
        "usd_per_million_input": 1.0,
        "usd_per_million_output": 10.0,
    }
    settings = Settings(home=tmp_path, models={"smollm2-135m": priced})  # type: ignore[dict-item]  # as TOML gives it
    spans = await seen(loop, models={"smollm2-135m": ScriptedModel(["five words are said here"])}, settings=settings)
    call = only(spans, operation="model").attributes
    assert call[names.PROMPT_TOOLS] == [f"look:{len(look.spec().model_dump_json())}"]
    assert call[names.COST_USD] == pytest.approx((1 * 1.0 + 5 * 10.0) / 1e6)

    unpriced = {key: value for key, value in priced.items() if not key.startswith("usd")}
    settings = Settings(home=tmp_path, models={"smollm2-135m": unpriced})  # type: ignore[dict-item]
    spans = await seen(loop, models={"smollm2-135m": ScriptedModel(["a reply"])}, settings=settings)
    assert names.COST_USD not in only(spans, operation="model").attributes


def test_the_cache_of_the_instance_is_told_as_far_as_it_is_known() -> None:
    """Pages in use and in all, and hits where the instance can say them of one call; nothing without any."""
    request = GenerateRequest(model="m", conversation=(turn(Role.USER, "Why?"),))
    told: list[dict[str, Any]] = []
    for pages in (Pages(used=3, total=8, hits=2), Pages(used=3, total=8), None):
        told.append({})
        describe_reply(told[-1], request, Finish(reason=FinishReason.STOP, usage=Usage(), pages=pages))
    keys = (names.KV_USED, names.KV_TOTAL, names.KV_HITS)
    assert [tuple(each.get(key) for key in keys) for each in told] == [(3, 8, 2), (3, 8, None), (None, None, None)]


async def test_a_handler_says_when_it_first_showed_something(seen: Spans) -> None:
    """First chunk and count, on durable work; an ask shows nothing, so it says nothing."""
    shown = handler(await seen(show, durable=True), "show")
    assert shown[names.EMIT_COUNT] == 2
    assert shown[names.QUEUE_DEQUEUE_NS] <= shown[names.EMIT_FIRST_NS]
    assert names.EMIT_COUNT not in handler(await seen(show), "show")


def test_runs_that_are_watched_exist() -> None:
    """Ids as the client makes them reach the choice."""
    assert any(is_watched(f"{number:032x}") for number in itertools.islice(itertools.count(), 200))
