"""A system on the in-memory bus behind a door that really listens."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from pydantic import BaseModel, Field, SecretStr

from antiphon import Agent, Client, Context, Message, System
from antiphon.runtime.gateways.http.app import Door
from antiphon.runtime.listening import listen
from antiphon.runtime.models.scripted import ScriptedModel
from antiphon.runtime.settings import Settings
from antiphon.runtime.testing import MemoryCluster, memory_cluster
from antiphon.schemas.telemetry import SpanRecord, TelemetryBatch

TOKENS = {"web": SecretStr("web-0123456789abcdef"), "shop": SecretStr("shop-0123456789abcdef")}


class Question(Message):
    text: str = Field(max_length=2000)


class Answer(Message):
    text: str


class Turn(BaseModel):
    role: str
    content: str


class Talk(Message):
    messages: list[Turn]
    loud: bool = False


class Told(Message):
    user: str = Field(min_length=1)
    text: str


class Sum(Message):
    numbers: list[int] = Field(max_length=5)
    unit: str | None = None


class Total(Message):
    total: int
    unit: str | None


class Chapter(Message):
    title: str
    parts: tuple["Chapter", ...] = ()


class Workshop:
    """The agents, and what a test may hold up or look at."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.waiting = asyncio.Event()
        self.stopped = asyncio.Event()
        self.callers: list[str] = []
        self.done = 0
        self.system = System("workshop", agents=[self._writer(), self._clerk(), self._porter()])

    def _writer(self) -> Agent:
        writer = Agent("writer", lease_s=1.0, first_retry_s=0.01, max_retry_s=0.02)

        @writer.handles
        async def write(question: Question, ctx: Context) -> Answer:
            """Answer a question."""
            return Answer(text=await ctx.model.generate(str, question.text, emit=True))

        @writer.handles
        async def talk(talk: Talk, ctx: Context) -> Answer:
            """Say how many turns there were."""
            return Answer(text=" / ".join(f"{turn.role}: {turn.content}" for turn in talk.messages))

        @writer.handles(key=lambda told: told.user)
        async def remember(told: Told, ctx: Context) -> Answer:
            """Keep one order a user."""
            return Answer(text=f"{told.user}: {told.text}")

        @writer.handles
        async def outline(chapter: Chapter, ctx: Context) -> Chapter:
            """The same again."""
            return chapter

        return writer

    def _clerk(self) -> Agent:
        clerk = Agent("clerk", lease_s=1.0)

        @clerk.handles
        async def add(sum: Sum, ctx: Context) -> Total:
            """Add up."""
            self.callers.append(ctx.labels.get("caller", ""))
            self.done += 1
            return Total(total=total(sum.numbers), unit=sum.unit)

        return clerk

    def _porter(self) -> Agent:
        """For trouble."""
        porter = Agent("porter", lease_s=1.0, max_attempts=2, first_retry_s=0.01, max_retry_s=0.02)

        @porter.handles
        async def wait(question: Question, ctx: Context) -> Answer:
            """Until the gate opens."""
            await ctx.emit("waiting")
            self.waiting.set()
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.stopped.set()
                raise
            return Answer(text="through")

        @porter.handles
        async def fail(question: Question, ctx: Context) -> Answer:
            """Never do it."""
            raise ValueError("no ink")

        @porter.handles
        async def stumble(question: Question, ctx: Context) -> Answer:
            """Show half of it, die, and do it all again."""
            await ctx.emit("Air ")
            if ctx.attempt == 1:
                await asyncio.sleep(0.1)  # until what was emitted is out
                raise OSError("a cable was pulled")
            await ctx.emit("scatters blue light.")
            return Answer(text="Air scatters blue light.")

        return porter


def total(numbers: list[int]) -> int:
    return sum(numbers)


@pytest.fixture
def workshop() -> Workshop:
    """The agents."""
    return Workshop()


@pytest.fixture
def spans() -> list[SpanRecord]:
    """What was traced so far."""
    return []


@pytest.fixture
async def cluster(workshop: Workshop, spans: list[SpanRecord], tmp_path: Path) -> AsyncIterator[MemoryCluster]:
    """One node with the agents, whose model says what it was told."""
    model = ScriptedModel(lambda request: f"You said: {request.conversation[-1].text}")

    def see(batch: TelemetryBatch) -> None:
        spans.extend(batch.spans)

    small = Settings(home=tmp_path, max_body_mb=1)
    async with memory_cluster(workshop.system, models={"smollm2-135m": model}, spans=see, settings=small) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: MemoryCluster) -> Client:
    """A connection to the system."""
    return cluster.client


@pytest.fixture
def origins() -> tuple[str, ...]:
    """Pages that may call; a test may say otherwise."""
    return ("https://app.example.org",)


@pytest.fixture
async def door(client: Client, origins: tuple[str, ...]) -> Door:
    """The door, with two callers."""
    return Door(client, TOKENS, origins)


@pytest.fixture
async def address(door: Door) -> AsyncIterator[str]:
    """Where the door listens."""
    server = await listen(door.app, "127.0.0.1", 0, name="door")
    try:
        yield server.address
    finally:
        door.close()
        await server.stop()


@pytest.fixture
async def http(address: str) -> AsyncIterator[httpx.AsyncClient]:
    """A caller with the token of ``web``."""
    headers = {"authorization": f"Bearer {TOKENS['web'].get_secret_value()}"}
    async with httpx.AsyncClient(base_url=address, headers=headers, timeout=60) as http:
        yield http
