"""Every adapter of the model seam, as one fixture. A new adapter is one more function and one more parameter.

Behind the remote ones stands the same script, so that they can be held to the same counts.
"""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from antiphon.runtime.bus.base import Bus
from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.errors import ContextTooLong, InvalidRequest, ModelError, ModelUnavailable
from antiphon.runtime.models.base import ModelInstance
from antiphon.runtime.models.bus import BusModel
from antiphon.runtime.models.local import LocalModel
from antiphon.runtime.models.openai import OpenAIModel
from antiphon.runtime.models.process import ProcessModel
from antiphon.runtime.models.scripted import Line, ScriptedModel
from antiphon.runtime.models.server import ModelServer
from antiphon.runtime.models.setting import LocalSetting
from antiphon.runtime.models.tool_prompt import PromptedTools
from antiphon.schemas.inference import (
    Chunk,
    EmbedRequest,
    Finish,
    GenerateRequest,
    OutputSchema,
    Role,
    Sampling,
    TextChunk,
    ToolCall,
    ToolSpec,
    turn,
)
from antiphon.schemas.message import Message

CONTEXT = 1024  # tokens of every model here, so that the suite can exceed it


class City(Message):
    """What the contract asks a model for; small enough for a random model to complete."""

    name: Literal["Paris", "Rome"]
    large: bool


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An adapter under test. ``active`` counts requests that are being worked on, at the far end if there is one."""

    model: ModelInstance
    active: Callable[[], int]


def _script(request: GenerateRequest) -> Line:
    if request.output is not None:
        return City(name="Paris", large=True)
    if request.tools:
        return ToolCall(id="call-1", name=request.tools[0].name, arguments={"query": "blue sky"})
    return " ".join(f"word{number}" for number in range(CONTEXT * 2))


def _scripted() -> ScriptedModel:
    return ScriptedModel(_script, name="scripted", token_s=0.002, context_tokens=CONTEXT)


@asynccontextmanager
async def scripted(tmp_path: Path) -> AsyncGenerator[Subject, None]:
    """The double itself."""
    model = _scripted()
    yield Subject(model=model, active=lambda: model.active)
    await model.close()


@asynccontextmanager
async def memory_bus(tmp_path: Path) -> AsyncGenerator[Subject, None]:
    """Client and server halves over the in-memory bus."""
    shared = MemoryServer()
    async with _over(MemoryBus(shared), MemoryBus(shared)) as subject:
        yield subject


@asynccontextmanager
async def nats_bus(tmp_path: Path) -> AsyncGenerator[Subject, None]:
    """Client and server halves over a real server, each on a connection of its own."""
    from antiphon.runtime.bus.nats import NatsBus
    from antiphon.runtime.bus.server import embedded_server

    async with embedded_server(tmp_path / "home") as at:
        near = await NatsBus.connect(at.url, at.token, "near")
        far = await NatsBus.connect(at.url, at.token, "far")
        async with _over(near, far) as subject:
            yield subject


@asynccontextmanager
async def _over(near: Bus, far: Bus) -> AsyncGenerator[Subject, None]:
    behind = _scripted()
    server = ModelServer(far, "default", "scripted", behind, node="n1")
    await server.start()
    model = BusModel(near, "default", "scripted")
    yield Subject(model=model, active=lambda: behind.active)
    await model.close()
    await server.close()
    await behind.close()
    await near.close()
    await far.close()


@asynccontextmanager
async def openai(tmp_path: Path) -> AsyncGenerator[Subject, None]:
    """The HTTP adapter against a real server on loopback."""
    behind = _scripted()
    async with _serving(_app(behind)) as port:
        model = OpenAIModel(f"http://127.0.0.1:{port}/v1", "scripted")
        yield Subject(model=model, active=lambda: behind.active)
        await model.close()
    await behind.close()


@asynccontextmanager
async def local(tmp_path: Path) -> AsyncGenerator[Subject, None]:
    """The engine with a small random checkpoint."""
    _random_checkpoint(tmp_path)
    model = LocalModel("random", tmp_path)
    await model.capabilities()  # loads it, so that deadlines in the suite measure generation
    yield Subject(model=model, active=lambda: model._engine.active if model._engine is not None else 0)
    await model.close()


@asynccontextmanager
async def prompted(tmp_path: Path) -> AsyncGenerator[Subject, None]:
    """The engine as the registry gives it: with tools in its prompt."""
    async with local(tmp_path) as inner:
        yield Subject(model=PromptedTools(inner.model), active=inner.active)


@asynccontextmanager
async def process(tmp_path: Path) -> AsyncGenerator[Subject, None]:
    """The same in a process of its own, as ``antiphon serve`` has it."""
    _random_checkpoint(tmp_path)
    model = ProcessModel("random", LocalSetting(path=str(tmp_path)), tmp_path)
    await model.capabilities()
    yield Subject(model=model, active=lambda: model.active)
    await model.close()


@pytest.fixture(
    params=[
        pytest.param(scripted, id="scripted"),
        pytest.param(memory_bus, id="bus"),
        pytest.param(nats_bus, id="nats", marks=pytest.mark.nats),
        pytest.param(openai, id="openai"),
        pytest.param(local, id="local"),
        pytest.param(prompted, id="prompted"),
        pytest.param(process, id="process"),
    ]
)
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Subject, None]:
    """Each adapter in turn."""
    open_subject: Callable[[Path], AbstractAsyncContextManager[Subject]] = request.param
    async with open_subject(tmp_path) as opened:
        yield opened


@pytest.fixture
def ask() -> Callable[..., GenerateRequest]:
    """Builds requests: ``ask("text", max_tokens=5, stop=(…), output=True, tools=True, deadline_unix_ms=…)``."""

    def build(
        text: str = "Tell me a story.",
        *,
        output: bool = False,
        tools: bool = False,
        deadline_unix_ms: int | None = None,
        max_tokens: int = 16,
        stop: tuple[str, ...] = (),
    ) -> GenerateRequest:
        spec = ToolSpec(name="search", description="Search.", parameters={"type": "object", "properties": {}})
        return GenerateRequest(
            model="scripted",
            conversation=(turn(Role.USER, text),),
            output=OutputSchema(name="City", json_schema=City.model_json_schema()) if output else None,
            tools=(spec,) if tools else (),
            deadline_unix_ms=deadline_unix_ms,
            sampling=Sampling(max_tokens=max_tokens, stop=stop),
        )

    return build


@pytest.fixture
def city() -> type[Message]:
    """The message that a request with ``output=True`` asks for."""
    return City


def _random_checkpoint(folder: Path) -> None:
    """A Llama with random weights whose tokens are bytes. It never ends by itself and says printable ASCII only."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(["<|end|>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|end|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|end|>", "chat_template": template}))
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=None,
        eos_token_id=0,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for letter, number in vocabulary.items():
            if len(letter) > 1 or not "!" <= letter <= "~":
                model.lm_head.weight[number] = 0.0  # a logit of 0 is never the highest of hundreds
    model.save_pretrained(folder)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which belong to pytest here."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@asynccontextmanager
async def _serving(app: Starlette) -> AsyncGenerator[int, None]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = _Server(uvicorn.Config(app, log_level="critical", lifespan="off", ws="none"))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = server.force_exit = True
            await task


def _app(model: ModelInstance) -> Starlette:
    """An OpenAI-compatible server over ``model``."""

    async def chat(http: Request) -> Response:
        chunks = model.generate(_request(await http.json()))
        try:
            first = await anext(chunks)
        except ModelError as error:
            return _refused(error)
        return StreamingResponse(_events(first, chunks), media_type="text/event-stream")

    async def embed(http: Request) -> Response:
        sent = await http.json()
        try:
            found = await model.embed(EmbedRequest(model=sent["model"], texts=tuple(sent["input"])))
        except ModelError as error:
            return _refused(error)
        return JSONResponse({"data": [{"index": i, "embedding": list(v)} for i, v in enumerate(found.vectors)]})

    async def models(http: Request) -> Response:
        found = await model.capabilities()
        return JSONResponse({"data": [{"id": found.model, "max_model_len": found.context_tokens}]})

    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/embeddings", embed, methods=["POST"]),
            Route("/v1/models", models),
        ]
    )


def _refused(error: ModelError) -> Response:
    status = {ModelUnavailable: 503, ContextTooLong: 400, InvalidRequest: 400}.get(type(error), 500)
    code = "context_length_exceeded" if isinstance(error, ContextTooLong) else None
    return JSONResponse({"error": {"message": error.message, "code": code}}, status_code=status)


def _request(sent: dict[str, Any]) -> GenerateRequest:
    output = sent.get("response_format", {}).get("json_schema")
    return GenerateRequest(
        model=sent["model"],
        conversation=tuple(turn(Role(message["role"]), message["content"]) for message in sent["messages"]),
        tools=tuple(ToolSpec(**tool["function"]) for tool in sent.get("tools", ())),
        output=OutputSchema(name=output["name"], json_schema=output["schema"]) if output else None,
        sampling=Sampling(
            temperature=sent["temperature"],
            top_p=sent["top_p"],
            max_tokens=sent["max_tokens"],
            stop=tuple(sent.get("stop", ())),
        ),
    )


async def _events(first: Chunk, chunks: AsyncGenerator[Chunk, None]) -> AsyncGenerator[str, None]:
    async with aclosing(chunks):
        yield _event(first)
        async for chunk in chunks:
            yield _event(chunk)
    yield "data: [DONE]\n\n"


def _event(chunk: Chunk) -> str:
    found: dict[str, Any] = {"model": "scripted"}
    if isinstance(chunk, TextChunk):
        found["choices"] = [{"delta": {"content": chunk.text}}]
    elif isinstance(chunk, Finish):
        found["choices"] = [{"delta": {}, "finish_reason": chunk.reason.value}]
        found["usage"] = {
            "prompt_tokens": chunk.usage.input_tokens,
            "completion_tokens": chunk.usage.output_tokens,
        }
    else:
        call = chunk.call
        function = {"name": call.name, "arguments": json.dumps(call.arguments)}
        found["choices"] = [{"delta": {"tool_calls": [{"index": 0, "id": call.id, "function": function}]}}]
    return f"data: {json.dumps(found)}\n\n"
