"""Client and server halves on the bus when the other side is missing, dies, goes, refuses or talks nonsense."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from antiphon.runtime.bus.base import Delivery
from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.bus.nats import NatsBus
from antiphon.runtime.bus.server import embedded_server
from antiphon.runtime.delivery.payload import encode
from antiphon.runtime.errors import (
    ConfigurationError,
    ContextTooLong,
    DeadlineExceeded,
    InvalidRequest,
    ModelBusy,
    ModelError,
    ModelUnavailable,
)
from antiphon.runtime.models.bus import BusModel
from antiphon.runtime.models.exchange import Pace
from antiphon.runtime.models.inspection import inspect
from antiphon.runtime.models.scripted import Scripted, ScriptedModel
from antiphon.runtime.models.server import ModelServer
from antiphon.runtime.models.structured import collect
from antiphon.schemas import subjects
from antiphon.schemas.envelope import ERROR, REPLY, TYPE
from antiphon.schemas.inference import (
    Accepted,
    Chunk,
    ChunkBatch,
    EmbedRequest,
    Finish,
    FinishReason,
    GenerateRequest,
    TextChunk,
    Usage,
)
from antiphon.schemas.task import ErrorInfo

Ask = Callable[..., GenerateRequest]
PACE = Pace(sign_s=0.05, silence_s=0.5, coalesce_s=0.01, accept_s=0.5, answer_s=0.5, grace_s=0.1)
CALM = Pace(coalesce_s=0.01)  # for what is not about silence, so that a busy machine changes nothing
SUBJECT = subjects.model("default", "m")
LONG = " ".join(f"word{number}" for number in range(1_000))


@pytest.fixture
async def carrier() -> MemoryServer:
    """What both sides' connections share."""
    return MemoryServer()


@pytest.fixture
async def near(carrier: MemoryServer) -> AsyncGenerator[MemoryBus, None]:
    """The client's connection."""
    bus = MemoryBus(carrier)
    yield bus
    await bus.close()


@pytest.fixture
async def far(carrier: MemoryServer) -> AsyncGenerator[MemoryBus, None]:
    """The server's connection."""
    bus = MemoryBus(carrier)
    yield bus
    await bus.close()


async def serve(
    bus: MemoryBus, model: ScriptedModel, *, concurrency: int = 4, waiting: int = 4, pace: Pace = CALM
) -> ModelServer:
    """A started server of ``model``."""
    server = ModelServer(bus, "default", "m", model, node="n1", concurrency=concurrency, waiting=waiting, pace=pace)
    await server.start()
    return server


async def until(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - counters of doubles, which announce nothing
            await asyncio.sleep(0.005)


async def test_nobody_serving_is_said_at_once(near: MemoryBus, ask: Ask) -> None:
    """No waiting for a server that is not there."""
    model = BusModel(near, "default", "m")
    async with asyncio.timeout(60):
        for asked in (collect(model.generate(ask())), model.capabilities(), model.embed(embed())):
            with pytest.raises(ModelUnavailable, match="nobody serves model 'm'"):
                await asked


async def test_a_killed_server_hangs_nobody(near: MemoryBus, far: MemoryBus, ask: Ask) -> None:
    """A server that dies mid-reply without a word is given up after the silence."""
    server = await serve(far, ScriptedModel([LONG], token_s=0.01), pace=PACE)
    model = BusModel(near, "default", "m", pace=PACE)
    async with aclosing(model.generate(ask(max_tokens=500))) as stream:
        assert isinstance(await anext(stream), TextChunk)
        await far.close()
        with pytest.raises(ModelUnavailable, match="taken for dead"):
            async with asyncio.timeout(60):
                async for _ in stream:
                    pass
    await server.close()


SERVER = """
import asyncio, sys
from antiphon.runtime.bus.nats import NatsBus
from antiphon.runtime.models.scripted import ScriptedModel
from antiphon.runtime.models.server import ModelServer

async def main():
    bus = await NatsBus.connect(sys.argv[1], sys.argv[2] or None, "server")
    await ModelServer(bus, "default", "m", ScriptedModel(["word " * 10_000], token_s=0.01), node="n1").start()
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.nats
async def test_kill_minus_nine_hangs_nobody(tmp_path: Path, ask: Ask) -> None:
    """The same with a real process, a real server and SIGKILL."""
    async with embedded_server(tmp_path) as at:
        bus = await NatsBus.connect(at.url, at.token, "client")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SERVER, at.url, at.token or "", stdout=asyncio.subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            assert await asyncio.wait_for(process.stdout.readline(), 60) == b"ready\n"
            model = BusModel(bus, "default", "m", pace=Pace(sign_s=0.5, silence_s=2.5))
            async with aclosing(model.generate(ask(max_tokens=9_000))) as stream:
                await anext(stream)
                process.kill()
                with pytest.raises(ModelUnavailable, match="taken for dead"):
                    async with asyncio.timeout(60):
                        async for _ in stream:
                            pass
            with pytest.raises(ModelUnavailable, match="nobody serves"):
                await collect(model.generate(ask()))
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()
            await bus.close()


async def test_a_slow_reply_is_not_taken_for_dead(near: MemoryBus, far: MemoryBus, ask: Ask) -> None:
    """Signs of life carry a request over a silence longer than the bound, also while it waits for a slot."""
    server = await serve(far, ScriptedModel(lambda _: "one two", token_s=0.7), concurrency=1, pace=PACE)
    model = BusModel(near, "default", "m", pace=PACE)
    replies = await asyncio.gather(collect(model.generate(ask())), collect(model.generate(ask())))
    assert [reply.text for reply in replies] == ["one two", "one two"]
    queued = [reply.finish.timing.queue_s for reply in replies]
    assert queued[1] is not None
    assert queued[1] > 0.5
    await server.close()


async def test_a_vanished_reader_is_noticed(near: MemoryBus, far: MemoryBus, ask: Ask) -> None:
    """Generation for a client that died without a word stops after the silence."""
    instance = ScriptedModel([LONG], token_s=0.01)
    server = await serve(far, instance, pace=PACE)
    model = BusModel(near, "default", "m", pace=PACE)
    stream = model.generate(ask(max_tokens=900))
    await anext(stream)
    await near.close()
    await until(lambda: instance.active == 0)
    await until(lambda: server.active == 0)
    with pytest.raises(ModelUnavailable):
        await collect(stream)
    await server.close()


async def test_closing_a_server_tells_its_readers(near: MemoryBus, far: MemoryBus, ask: Ask) -> None:
    """Everybody who waits is answered, those without a slot too; closing twice is as good as once."""
    server = await serve(far, ScriptedModel(lambda _: LONG, token_s=0.01), concurrency=1)
    model = BusModel(near, "default", "m", pace=CALM)
    reading = [asyncio.create_task(collect(model.generate(ask(max_tokens=900)))) for _ in range(3)]
    await until(lambda: server.active == 1)
    await server.close()
    for task in reading:
        with pytest.raises(ModelUnavailable, match="is closing"):
            await asyncio.wait_for(task, 60)
    await server.close()


async def test_a_full_server_refuses(near: MemoryBus, far: MemoryBus, ask: Ask) -> None:
    """What waits is bounded; the refusal is retryable and says when."""
    server = await serve(far, ScriptedModel(lambda _: LONG, token_s=0.01), concurrency=1, waiting=1)
    model = BusModel(near, "default", "m", pace=CALM)
    reading = [asyncio.create_task(collect(model.generate(ask(max_tokens=900)))) for _ in range(3)]
    done, waiting = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED, timeout=60)
    (refused,) = done
    error = refused.exception()
    assert isinstance(error, ModelUnavailable)
    assert error.details["retry_after_s"] == "1"
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await server.close()


async def test_a_deadline_passes_while_waiting_for_a_slot(near: MemoryBus, far: MemoryBus, ask: Ask) -> None:
    """A request that never got a slot ends as cancelled, with nothing used."""
    server = await serve(far, ScriptedModel(lambda _: LONG, token_s=0.01), concurrency=1, pace=PACE)
    model = BusModel(near, "default", "m", pace=PACE)
    async with aclosing(model.generate(ask(max_tokens=900))) as first:
        await anext(first)
        # A second, since one that is over before the server took the request has no time in its queue.
        reply = await collect(model.generate(ask(deadline_unix_ms=int(time.time() * 1000) + 1000)))
    assert reply.finish.reason is FinishReason.CANCELLED
    assert reply.finish.usage == Usage()
    assert reply.finish.timing.queue_s is not None
    await server.close()


async def test_a_deadline_for_vectors_is_said_to_have_passed(near: MemoryBus, far: MemoryBus, ask: Ask) -> None:
    """And not that the model is away, which another try might mend."""
    server = await serve(far, ScriptedModel(lambda _: LONG, token_s=0.01, embed=lambda text: [1.0]), concurrency=1)
    model = BusModel(near, "default", "m", pace=CALM)
    async with aclosing(model.generate(ask(max_tokens=900))) as first:
        await anext(first)
        soon = embed().model_copy(update={"deadline_unix_ms": int(time.time() * 1000) + 100})
        with pytest.raises(DeadlineExceeded, match="allow more time"):
            await model.embed(soon)
    await server.close()


@pytest.mark.parametrize(
    ("error", "expected", "words"),
    [
        (ContextTooLong("9 tokens, takes 4", input_tokens=9), ContextTooLong, "9 tokens"),
        (ModelUnavailable("loading"), ModelUnavailable, "loading"),
        (ConfigurationError("no key"), ModelError, "ConfigurationError: no key"),
    ],
)
async def test_the_instances_errors_reach_the_reader(
    near: MemoryBus, far: MemoryBus, ask: Ask, error: ModelError, expected: type[ModelError], words: str
) -> None:
    """After the chunks that came before them, with type and details; what is no ModelError becomes one."""
    server = await serve(far, ScriptedModel([Scripted(text="so far", error=error)]))
    model = BusModel(near, "default", "m", pace=CALM)
    came: list[Chunk] = []
    with pytest.raises(ModelError, match=words) as raised:
        async with aclosing(model.generate(ask())) as stream:
            async for chunk in stream:
                came.append(chunk)
    assert type(raised.value) is expected
    assert "".join(chunk.text for chunk in came if isinstance(chunk, TextChunk)) == "so far"
    await server.close()


async def test_a_crash_in_the_instance_is_answered(
    near: MemoryBus, far: MemoryBus, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reader gets a retryable error that names the node, and the log there has the traceback."""

    def crash(request: GenerateRequest) -> str:
        raise ZeroDivisionError("oops")

    server = await serve(far, ScriptedModel(crash))
    with pytest.raises(ModelUnavailable, match=r"on n1 failed \(ZeroDivisionError: oops\)"):
        await collect(BusModel(near, "default", "m", pace=CALM).generate(ask()))
    assert "model_request_failed" in capsys.readouterr().out
    await server.close()


async def test_embeddings_and_capabilities_travel(near: MemoryBus, far: MemoryBus) -> None:
    """Plain requests with typed answers."""
    server = await serve(far, ScriptedModel([], embed=lambda text: [float(len(text))], context_tokens=7))
    model = BusModel(near, "default", "m", pace=CALM)
    assert (await model.embed(embed("ab", "c"))).vectors == ((2.0,), (1.0,))
    assert (await model.capabilities()).context_tokens == 7
    await server.close()


async def test_chunks_are_coalesced(near: MemoryBus, far: MemoryBus, ask: Ask) -> None:
    """A fast reply does not cost a message a token."""
    server = await serve(far, ScriptedModel([LONG]))
    model = BusModel(near, "default", "m", pace=CALM)
    batches: list[Delivery] = []

    async def count(delivery: Delivery) -> None:
        batches.append(delivery)

    await near.subscribe(subjects.every(subjects.Kind.STREAM, "default"), count)
    reply = await collect(model.generate(ask(max_tokens=1_000)))
    assert reply.text == LONG
    assert len(batches) < 100
    await server.close()


async def test_batches_too_large_for_the_bus_are_halved(ask: Ask) -> None:
    """Many small chunks at once still get through a narrow bus."""
    carrier = MemoryServer(max_payload=4_096)
    near, far = MemoryBus(carrier), MemoryBus(carrier)
    server = await serve(far, ScriptedModel([LONG]))
    reply = await collect(BusModel(near, "default", "m", pace=CALM).generate(ask(max_tokens=1_000)))
    assert reply.text == LONG
    await server.close()
    await near.close()
    await far.close()


async def test_what_is_too_large_for_the_bus_is_said(ask: Ask) -> None:
    """A request or a single chunk beyond the bus's limit is a clear error, not a silence."""
    carrier = MemoryServer(max_payload=4_096)
    near, far = MemoryBus(carrier), MemoryBus(carrier)
    server = await serve(far, ScriptedModel(["x" * 5_000]))
    model = BusModel(near, "default", "m", pace=CALM)
    with pytest.raises(InvalidRequest, match="shorten"):
        await collect(model.generate(ask("x" * 5_000)))
    with pytest.raises(ModelError, match="one chunk is too large"):
        await collect(model.generate(ask()))
    await server.close()
    await near.close()
    await far.close()


async def test_a_server_span_is_a_child_of_the_readers(near: MemoryBus, far: MemoryBus, ask: Ask) -> None:
    """Trace context travels in headers, and the process span has the queue's and pool's facts."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    server = ModelServer(far, "default", "m", ScriptedModel(["hi"]), node="n1", tracer=tracer, pace=CALM)
    await server.start()
    with tracer.start_as_current_span("reader") as reader:
        await collect(BusModel(near, "default", "m", pace=CALM).generate(ask(run="run-1")))
    await server.close()
    (span,) = [span for span in exporter.get_finished_spans() if span.name == "process antiphon.{tenant}.model.{model}"]
    assert span.kind is SpanKind.CONSUMER
    assert span.parent is not None
    assert span.parent.span_id == reader.get_span_context().span_id
    assert span.attributes is not None
    assert span.attributes["antiphon.pool.id"] == "model:m@n1"
    assert span.attributes["antiphon.run"] == "run-1"


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({}, b"{oops", "InvalidMessage"),
        ({TYPE: "Question"}, b"{}", "UnknownType"),
        ({"Antiphon-Deadline": "soon"}, b"{}", "InvalidMessage"),
        ({}, b'{"model": "m", "conversation": []}', "InvalidMessage"),
        ({}, None, "InvalidRequest"),
        ({REPLY: "somebody.elses.subject"}, None, "InvalidRequest"),
    ],
)
async def test_a_bad_request_is_answered(
    near: MemoryBus, far: MemoryBus, ask: Ask, headers: dict[str, str], body: bytes | None, expected: str
) -> None:
    """Whoever sends nonsense gets a typed error, and the server serves on."""
    server = await serve(far, ScriptedModel(["hi"]))
    answer = await near.request(SUBJECT, body or encode(ask()), headers, timeout_s=60)
    assert answer.headers[ERROR] == expected
    assert ErrorInfo.model_validate_json(answer.body).message
    await near.publish(SUBJECT, encode(ask()))  # nobody to answer
    assert (await collect(BusModel(near, "default", "m", pace=CALM).generate(ask()))).text == "hi"
    await server.close()


async def fake(bus: MemoryBus, *batches: bytes, accept: bytes = b"", error: str = "") -> None:
    """A server that answers ``accept`` and sends ``batches`` whatever it is asked."""

    async def receive(delivery: Delivery) -> None:
        await bus.publish(delivery.reply, accept or encode(Accepted(server="x")), {ERROR: error} if error else {})
        for batch in batches:
            await bus.publish(delivery.headers[REPLY], batch)

    await bus.subscribe(SUBJECT, receive)


def batch(n: int, *chunks: Chunk) -> bytes:
    """A batch on the wire."""
    return encode(ChunkBatch(n=n, chunks=chunks))


FINISH = Finish(reason=FinishReason.STOP, usage=Usage())


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        ((batch(0, TextChunk(text="a")), batch(2, FINISH)), "chunks 1 to 1 .* were lost"),
        ((b"{oops", batch(1, FINISH)), "chunks 0 to 0 .* were lost"),
        ((batch(0, TextChunk(text="a")),), "silent"),
    ],
    ids=["gap", "unreadable", "no end"],
)
async def test_a_reply_with_holes_is_no_reply(
    near: MemoryBus, far: MemoryBus, ask: Ask, batches: tuple[bytes, ...], words: str
) -> None:
    """Lost, unreadable or missing chunks are noticed by their numbers or by the silence."""
    await fake(far, *batches)
    with pytest.raises(ModelUnavailable, match=words):
        await asyncio.wait_for(collect(BusModel(near, "default", "m", pace=PACE).generate(ask())), 60)


@pytest.mark.parametrize(("accept", "error"), [(b"{oops", ""), (b"{oops", "Odd"), (json.dumps([1]).encode(), "")])
async def test_an_answer_that_is_none_is_unavailable(
    near: MemoryBus, far: MemoryBus, ask: Ask, accept: bytes, error: str
) -> None:
    """A server of another version or make gives a typed error."""
    await fake(far, accept=accept, error=error)
    with pytest.raises(ModelUnavailable):
        await collect(BusModel(near, "default", "m", pace=CALM).generate(ask()))


async def test_a_server_that_does_not_accept_is_given_up(near: MemoryBus, far: MemoryBus, ask: Ask) -> None:
    """The first answer has its own short bound, shorter still under a deadline."""

    async def ignore(delivery: Delivery) -> None:
        pass

    await far.subscribe(SUBJECT, ignore)
    model = BusModel(near, "default", "m", pace=PACE)
    with pytest.raises(ModelUnavailable, match="in time"):
        await collect(model.generate(ask()))
    reply = await collect(model.generate(ask(deadline_unix_ms=int(time.time() * 1000) + 100)))
    assert reply.finish.reason is FinishReason.CANCELLED


async def test_a_server_is_started_once(far: MemoryBus) -> None:
    """A second start would serve every request twice."""
    server = await serve(far, ScriptedModel([]))
    with pytest.raises(ConfigurationError, match="already served"):
        await server.start()
    await server.close()


def embed(*texts: str) -> EmbedRequest:
    """A request for vectors."""
    return EmbedRequest(model="m", texts=texts or ("a",))


async def test_a_request_belongs_to_the_tenant_it_came_from(near: MemoryBus, far: MemoryBus, ask: Ask) -> None:
    """One instance, a server for each tenant: what a client claims to be is replaced."""
    instance = ScriptedModel(lambda request: request.tenant)
    servers = [ModelServer(far, tenant, "m", instance, node="n1", pace=CALM) for tenant in ("acme", "default")]
    for server in servers:
        await server.start()
    claims = ask().model_copy(update={"tenant": "acme"})
    assert (await collect(BusModel(near, "default", "m").generate(claims))).text == "default"
    assert (await collect(BusModel(near, "acme", "m").generate(claims))).text == "acme"
    for server in servers:
        await server.close()


async def test_a_refusal_for_the_quota_keeps_its_time(near: MemoryBus, far: MemoryBus, ask: Ask) -> None:
    """The engine's own error arrives as such, retryable, with the seconds to wait."""
    server = await serve(far, ScriptedModel([ModelBusy("the line is full", retry_after_s=2.5)]))
    with pytest.raises(ModelBusy) as caught:
        await collect(BusModel(near, "default", "m").generate(ask()))
    assert caught.value.retryable
    assert caught.value.details["retry_after_s"] == "2.5"
    await server.close()


async def test_every_server_says_how_it_does(near: MemoryBus, far: MemoryBus, ask: Ask) -> None:
    """Each by its name, full ones too; a client that asks for one instance gets one."""
    models = [ScriptedModel([LONG], token_s=0.01), ScriptedModel([])]
    servers = [
        ModelServer(far, "default", "m", model, node=f"n{number}", concurrency=1, waiting=0, pace=CALM)
        for number, model in enumerate(models)
    ]
    await servers[0].start()
    model = BusModel(near, "default", "m", pace=CALM)
    assert (await model.metrics()).server == "n0"
    async with aclosing(model.generate(ask(max_tokens=900))) as stream:
        await anext(stream)
        await servers[1].start()
        found = await inspect(near, "default", "m", wait_s=0.05)
        assert [(metrics.model, metrics.server) for metrics in found] == [("m", "n0"), ("m", "n1")]
    for server in servers:
        await server.close()


async def test_a_server_that_was_chosen_is_asked_first(near: MemoryBus, far: MemoryBus, ask: Ask) -> None:
    """The others stand in where it is not there or full; not where it is late, because it may have begun."""
    models = [ScriptedModel(lambda request: "hi") for _ in range(2)]
    servers = [ModelServer(far, "default", "m", model, node=f"n{n}", pace=PACE) for n, model in enumerate(models)]
    for server in servers:
        await server.start()
    model = BusModel(near, "default", "m", pace=PACE)
    assert await model.servers(wait_s=0.05) == ("n0", "n1")
    for _ in range(4):
        await collect(model.at("n1").generate(ask()))
    assert [len(each.requests) for each in models] == [0, 4]
    await collect(model.at("gone", "n0").generate(ask()))
    assert [len(each.requests) for each in models] == [1, 4]
    await servers[0].close()
    await servers[1].close()
    with pytest.raises(ModelUnavailable, match="nobody serves"):
        await collect(model.at("n0", "n1").generate(ask()))

    async def late(_: Delivery) -> None:
        pass

    silent = await far.subscribe(subjects.replica("default", "m", "late"), late)
    await servers[1].start()
    with pytest.raises(ModelUnavailable, match="in time"):
        await collect(model.at("late").generate(ask()))
    assert len(models[1].requests) == 4
    await silent.stop()
    await servers[1].close()
