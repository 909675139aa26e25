"""The engine behind the seam: queue, streaming, cancellation, errors."""

import asyncio
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.engine.engine_config import EngineConfig
from antiphon.runtime.engine.runner import Runner
from antiphon.runtime.engine.testing import write_tiny_checkpoint
from antiphon.runtime.errors import (
    ContextTooLong,
    InvalidRequest,
    MissingExtra,
    ModelFileError,
    ModelUnavailable,
)
from antiphon.runtime.models.bus import BusModel
from antiphon.runtime.models.local import LocalModel
from antiphon.runtime.models.server import ModelServer
from antiphon.runtime.models.setting import LocalSetting
from antiphon.schemas.inference import (
    Chunk,
    EmbedRequest,
    Finish,
    FinishReason,
    GenerateRequest,
    OutputSchema,
    Role,
    Sampling,
    TextChunk,
    ToolSpec,
    turn,
)

SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random checkpoint with room for long replies."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"), max_position_embeddings=8192)


@pytest.fixture
async def model(path: Path) -> AsyncIterator[LocalModel]:
    """An instance that runs one request and lets two wait."""
    instance = LocalModel("tiny", path, EngineConfig(dtype="float32", max_rows=1, max_waiting=2))
    yield instance
    await instance.close()


class Gate:
    """Holds every engine before its next step until opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.started = threading.Event()
        self.steps = 0
        real = Runner.run

        def held(runner: Runner, *arguments: Any) -> Any:
            self.steps += 1
            self.started.set()
            assert self.open.wait(120), "the test never opened the gate"
            return real(runner, *arguments)

        monkeypatch.setattr(Runner, "run", held)

    async def running(self) -> None:
        """Wait until a request is inside."""
        assert await asyncio.to_thread(self.started.wait, 10)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Closed until the test opens it, and open at the end whatever happens."""
    held = Gate(monkeypatch)
    yield held
    held.open.set()


def request(text: str = "hi", **fields: Any) -> GenerateRequest:
    """One short question; ``max_tokens`` and the like go to the sampling."""
    sampling = {name: fields.pop(name) for name in list(fields) if name in Sampling.model_fields}
    conversation = (turn(Role.USER, text),)
    return GenerateRequest(
        model="tiny", conversation=conversation, sampling=Sampling(**{"max_tokens": 8, **sampling}), **fields
    )


async def collect(model: LocalModel, asked: GenerateRequest) -> tuple[str, Finish]:
    """Text and end of a reply."""
    chunks: list[Chunk] = [chunk async for chunk in model.generate(asked)]
    *texts, finish = chunks
    assert isinstance(finish, Finish)
    return "".join(chunk.text for chunk in texts if isinstance(chunk, TextChunk)), finish


async def under_way(model: LocalModel, count: int) -> None:
    """Wait until so many requests are in the engine."""
    async with asyncio.timeout(60):
        while True:
            if model.engine.active == count:
                return
            await asyncio.sleep(0)


def test_importing_it_does_not_import_torch() -> None:
    """A node without local models starts without the engine's packages."""
    code = "import sys, antiphon.runtime.models.local, antiphon.runtime.models.pull; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=300)


async def test_a_reply_is_text_and_one_finish(model: LocalModel) -> None:
    """Greedy replies repeat, and the end carries name, usage and every timing."""
    text, finish = await collect(model, request())
    assert (text, finish.usage.output_tokens) == ((await collect(model, request()))[0], 8)
    assert (finish.reason, finish.model) == (FinishReason.LENGTH, "tiny")
    assert finish.timing.queue_s is not None
    assert finish.timing.prefill_s is not None
    assert finish.timing.decode_s is not None


async def test_capabilities_come_from_the_checkpoint(model: LocalModel) -> None:
    """They are known, not guessed."""
    found = await model.capabilities()
    assert (found.model, found.context_tokens, found.structured_output) == ("tiny", 8192, True)
    assert (found.tools, found.embeddings, found.deterministic) == (False, False, False)


async def test_an_output_schema_constrains_the_reply(model: LocalModel) -> None:
    """Even random weights answer in JSON that fits, or run out of tokens and say LENGTH."""
    output = OutputSchema(name="Ok", json_schema=SCHEMA)
    text, finish = await collect(model, request(output=output, max_tokens=20))
    assert text in ('{"ok":true}', '{"ok":false}')
    assert finish.reason is FinishReason.STOP
    text, finish = await collect(model, request(output=output, max_tokens=3))
    assert finish.reason is FinishReason.LENGTH
    assert '{"ok"'.startswith(text)


async def test_what_it_cannot_do_is_refused(model: LocalModel) -> None:
    """Tools, embeddings, a broken schema, and a prompt beyond the context; the next request is answered."""
    tool = ToolSpec(name="f", description="", parameters={"type": "object"})
    with pytest.raises(InvalidRequest, match="found 1 tools"):
        await collect(model, request(tools=(tool,)))
    with pytest.raises(InvalidRequest, match="does not embed"):
        await model.embed(EmbedRequest(model="tiny", texts=("x",)))
    with pytest.raises(InvalidRequest, match="output schema"):
        await collect(model, request(output=OutputSchema(name="x", json_schema={"type": "nonsense"})))
    with pytest.raises(ContextTooLong, match="8192"):
        await collect(model, request("long " * 3000))
    assert (await collect(model, request()))[1].reason is FinishReason.LENGTH


async def test_a_full_queue_refuses(model: LocalModel, gate: Gate) -> None:
    """One runs, two wait, the next hears that it may try later; a reader who gives up makes room."""
    readers = [asyncio.create_task(collect(model, request()))]
    await gate.running()
    readers += [asyncio.create_task(collect(model, request(max_tokens=9 + at))) for at in range(2)]
    await under_way(model, 3)
    with pytest.raises(ModelUnavailable, match="3 requests under way") as caught:
        await collect(model, request())
    assert caught.value.retryable
    readers[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await readers[1]
    await under_way(model, 3)  # it is in the line until the step that is held has ended
    gate.open.set()
    await asyncio.gather(readers[0], *readers[2:])
    await under_way(model, 0)
    readers.append(asyncio.create_task(collect(model, request())))
    assert (await readers[-1])[1].reason is FinishReason.LENGTH


async def test_higher_priority_goes_first(model: LocalModel, gate: Gate) -> None:
    """Batch work, of a priority below 0, waits for online work that came later."""
    running = asyncio.create_task(collect(model, request()))
    await gate.running()
    order: list[str] = []

    async def note(name: str, priority: int) -> None:
        await collect(model, request(name, priority=priority))
        order.append(name)

    readers = [asyncio.create_task(note("batch", -1))]
    await under_way(model, 2)
    readers.append(asyncio.create_task(note("online", 0)))
    await under_way(model, 3)
    gate.open.set()
    await asyncio.gather(running, *readers)
    assert order == ["online", "batch"]


async def test_on_the_bus_the_engine_alone_orders_requests(path: Path, gate: Gate) -> None:
    """Batch work in any number holds no place that an online request needs: no line stands before the engine's own."""
    bus = MemoryBus(MemoryServer())
    model = LocalModel("tiny", path, EngineConfig(dtype="float32", max_rows=1))
    await model.capabilities()
    places = LocalSetting(path="tiny").places
    server = ModelServer(bus, "default", "tiny", model, node="n1", concurrency=places)
    await server.start()
    client = BusModel(bus, "default", "tiny")
    order: list[str] = []

    async def note(name: str, priority: int) -> None:
        async for _ in client.generate(request(name, max_tokens=1, priority=priority)):
            pass
        order.append(name)

    readers = [asyncio.create_task(note("first", 0))]
    await gate.running()
    readers += [asyncio.create_task(note("batch", -1)) for _ in range(130)]
    await under_way(model, 131)
    readers.append(asyncio.create_task(note("online", 0)))
    await under_way(model, 132)
    gate.open.set()
    await asyncio.gather(*readers)
    assert order[:2] == ["first", "online"]
    await server.close()
    await model.close()
    await bus.close()


async def test_log_probabilities_come_with_the_text(model: LocalModel) -> None:
    """One entry a token, with its bytes and as many alternatives as were asked for."""
    chunks = [chunk async for chunk in model.generate(request(logprobs=2))]
    scores = [score for chunk in chunks if isinstance(chunk, TextChunk) for score in chunk.tokens]
    assert len(scores) == 8
    assert all(len(score.top) == 2 and score.top[0].logprob == score.logprob for score in scores)
    assert all((score.top[0].text, score.top[0].bytes) == (score.text, score.bytes) for score in scores)


async def test_a_raw_prompt_goes_on_from_text_or_ids(model: LocalModel) -> None:
    """By no template: the same as text and as its token ids."""
    asked = GenerateRequest(model="tiny", prompt="the sea", sampling=Sampling(max_tokens=6))
    text, finish = await collect(model, asked)
    ids = model.engine.tokenizer.begin("the sea")
    assert finish.usage.input_tokens == len(ids)
    assert (await collect(model, asked.model_copy(update={"prompt": tuple(ids)})))[0] == text


async def test_closing_the_generator_stops_it(model: LocalModel, gate: Gate) -> None:
    """The engine computes at most the step it is at, and serves the next request."""
    reply = model.generate(request(max_tokens=5000))
    gate.open.set()
    await anext(reply)
    await reply.aclose()
    assert (await collect(model, request(max_tokens=2)))[1].usage.output_tokens == 2
    assert gate.steps < 2500
    await under_way(model, 0)


async def test_cancelling_the_readers_task_stops_it(model: LocalModel, gate: Gate) -> None:
    """As closing does."""
    reader = asyncio.create_task(collect(model, request(max_tokens=5000)))
    await gate.running()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    gate.open.set()
    await collect(model, request(max_tokens=1))
    assert gate.steps <= 3  # the one that was held, and the next request's


async def test_a_deadline_ends_with_cancelled(model: LocalModel, gate: Gate) -> None:
    """While it waits without usage, while it runs with what was used; neither is an error."""
    await model.capabilities()  # loaded: the deadline is not spent on that
    soon_ms = time.time_ns() // 1_000_000 + 1000
    running = asyncio.create_task(collect(model, request(max_tokens=5000, deadline_unix_ms=soon_ms)))
    await gate.running()
    asyncio.get_running_loop().call_later(1.05, gate.open.set)  # deadlines are looked at between steps
    _, waiting = await collect(model, request(deadline_unix_ms=soon_ms))
    assert (waiting.reason, waiting.usage.input_tokens) == (FinishReason.CANCELLED, 0)
    _, finish = await running
    assert finish.reason is FinishReason.CANCELLED
    assert finish.usage.input_tokens > 0
    assert finish.usage.output_tokens < 5000


async def test_closing_fails_what_is_under_way(model: LocalModel, gate: Gate) -> None:
    """The running, the waiting and every later request hear ModelUnavailable; closing twice is fine."""
    readers = [asyncio.create_task(collect(model, request(max_tokens=5000)))]
    await gate.running()
    readers.append(asyncio.create_task(collect(model, request())))
    await under_way(model, 2)
    gate.open.set()
    await model.close()
    for reader in readers:
        with pytest.raises(ModelUnavailable, match="is closed"):
            await reader
    with pytest.raises(ModelUnavailable, match="tiny is closed"):
        await collect(model, request())
    await model.close()


async def test_a_damaged_checkpoint_is_reported_and_tried_again(path: Path, tmp_path: Path) -> None:
    """To every caller until it is mended."""
    instance = LocalModel("tiny", tmp_path / "model", EngineConfig(dtype="float32"))
    for _ in range(2):
        with pytest.raises(ModelFileError, match="antiphon models pull"):
            await collect(instance, request())
    with pytest.raises(ModelFileError):
        await instance.capabilities()
    write_tiny_checkpoint(tmp_path / "model")
    assert (await collect(instance, request()))[1].reason is FinishReason.LENGTH
    await instance.close()


async def test_a_missing_package_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, "antiphon.runtime.engine.engine", None)
    instance = LocalModel("tiny", path)
    with pytest.raises(MissingExtra, match=r"pip install 'antiphon\[engine\]'"):
        await collect(instance, request())
    await instance.close()


async def test_an_unexpected_failure_reaches_the_caller(model: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ModelUnavailable with its cause, and the worker lives on."""

    def broken(*_: Any) -> Any:
        raise MemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "run", broken)
        with pytest.raises(ModelUnavailable, match="MemoryError: no room"):
            await collect(model, request())
    assert (await collect(model, request()))[1].reason is FinishReason.LENGTH


class Panic(BaseException):
    """What a native library raises when it has lost its way: no Exception."""


async def test_an_engine_that_broke_down_is_replaced(model: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was in it hears a retryable error, and the next request finds a new one."""

    def broken(*_: Any) -> Any:
        raise Panic("lost")

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "run", broken)
        with pytest.raises(ModelUnavailable, match="closed") as caught:
            await collect(model, request())
        assert caught.value.retryable
        del caught  # whose traceback holds the engine
    first = model.engine
    await asyncio.to_thread(first.close)
    assert first.ended
    assert (await collect(model, request()))[1].reason is FinishReason.LENGTH
    assert model.engine is not first


async def test_a_broken_engine_is_gone_before_the_next_is_loaded(
    model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two have no room: weights, keys and values are held once."""
    from antiphon.runtime.engine.engine import Engine

    await collect(model, request())
    model.engine.close()
    first = weakref.ref(model.engine)
    load, there = Engine.load, []

    def look(*arguments: Any, **named: Any) -> Engine:
        there.append(first())
        return load(*arguments, **named)

    monkeypatch.setattr(Engine, "load", look)
    await collect(model, request())
    assert there == [None]


async def test_closing_while_it_loads_leaves_no_engine(model: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was being loaded is closed when it is there."""
    from antiphon.runtime.engine.engine import Engine

    loading, go_on, made = threading.Event(), threading.Event(), []
    load = Engine.load

    def slow(*arguments: Any, **named: Any) -> Engine:
        loading.set()
        assert go_on.wait(120)
        made.append(load(*arguments, **named))
        return made[0]

    monkeypatch.setattr(Engine, "load", slow)
    reader = asyncio.create_task(collect(model, request()))
    assert await asyncio.to_thread(loading.wait, 10)
    closing = asyncio.create_task(model.close())
    await asyncio.sleep(0)
    go_on.set()
    await closing
    with pytest.raises(ModelUnavailable, match="closed"):
        await reader
    assert made[0].ended
