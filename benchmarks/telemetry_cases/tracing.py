"""What tracing adds: to one ask on the in-memory bus, and to a system on a real server whose calls take 50 ms."""

import asyncio
import gc
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import SecretStr

from antiphon import Agent, Client, Context, Message, System, connect
from antiphon.runtime.bus.server import embedded_server
from antiphon.runtime.compose import open_host
from antiphon.runtime.node import Node
from antiphon.runtime.settings import Settings
from antiphon.runtime.testing import memory_system

CALL_S = 0.05
STEPS = 2  # calls of a run, one after the other
AT_A_TIME = 16  # runs
RUNS_EACH = 4  # of each in a round, one after the other
DRAWS = 2_000


class Ping(Message, name="BenchPing"):
    """Something small."""

    text: str


echo = Agent("echo", slots=64)
slow = Agent("slow", slots=64)
planner = Agent("planner", slots=64)


@echo.handles
async def answer(ping: Ping, ctx: Context) -> Ping:
    """Give it back."""
    return ping


@slow.handles
async def think(ping: Ping, ctx: Context) -> Ping:
    """Give it back after a while, as a model would."""
    await asyncio.sleep(CALL_S)
    return ping


@planner.handles
async def plan(ping: Ping, ctx: Context) -> Ping:
    """Think some times."""
    for _ in range(STEPS):
        ping = await ctx.ask(think, ping)
    return ping


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A part of the time of a run, with the 95 % interval of a bootstrap over rounds."""

    point: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.point:+.2%} ({self.low:+.2%} to {self.high:+.2%})"


async def asks(rounds: int, each: int) -> tuple[float, float]:
    """Microseconds that tracing adds to an ask, and that an ask takes without it; medians of neighbours."""
    added, plain = [], []
    system = System("bench", agents=[echo])
    folder = Path(tempfile.gettempdir()) / "antiphon-bench-none"
    async with (
        memory_system(system, settings=Settings(home=folder, trace=1.0)) as traced,
        memory_system(system, settings=Settings(home=folder, trace=0.0)) as untraced,
    ):
        message = Ping(text="hello")
        for number in range(rounds + 1):
            took = []
            for client in (traced, untraced) if number % 2 else (untraced, traced):
                began_s = time.perf_counter()
                for _ in range(each):
                    await client.ask(answer, message)
                took.append((client is traced, (time.perf_counter() - began_s) / each * 1e6))
            both = dict(took)
            if number:  # the first round warms up
                added.append(both[True] - both[False])
                plain.append(both[False])
    return statistics.median(added), statistics.median(plain)


async def share(rounds: int) -> tuple[Share, Share]:
    """What a run takes longer with tracing, and what more of the processor it uses, each as a share of its time.

    Spans are sent within the round in which they are made.
    """
    longer_s, busier_s, took_s = [], [], []
    with tempfile.TemporaryDirectory(prefix="antiphon-bench-", ignore_cleanup_errors=True) as folder:  # server lingers
        async with embedded_server(Path(folder)) as address, AsyncExitStack() as stack:
            clients: dict[bool, Client] = {}
            for traced in (True, False):
                settings = Settings(
                    home=Path(folder),
                    nats_url=address.url,
                    nats_token=SecretStr(address.token),
                    tenant="traced" if traced else "plain",
                    trace=float(traced),
                )
                host = await stack.enter_async_context(open_host(settings, node="bench"))
                await stack.enter_async_context(Node(host, [slow, planner]))
                clients[traced] = await stack.enter_async_context(connect(settings=settings))
                await _round(clients[traced])  # warms up
            for number in range(rounds):
                both = {traced: await _round(clients[traced]) for traced in (number % 2 == 0, number % 2 == 1)}
                longer_s.append(both[True][0] - both[False][0])
                busier_s.append(both[True][1] - both[False][1])
                took_s.append(both[False][0])
    return _share(longer_s, took_s), _share(busier_s, took_s)


async def _round(client: Client) -> tuple[float, float]:
    """Seconds of wall clock and of the processor that one run took, of many at a time."""
    gc.collect()
    took_s: list[float] = []

    async def user(number: int) -> None:
        await asyncio.sleep(CALL_S * number / AT_A_TIME)  # users do not come in step
        for _ in range(RUNS_EACH):
            began_s = time.perf_counter()
            await client.ask(plan, Ping(text="hello"))
            took_s.append(time.perf_counter() - began_s)

    began_s = time.process_time()
    await asyncio.gather(*(user(number) for number in range(AT_A_TIME)))
    await asyncio.sleep(2 * CALL_S)  # until what was recorded has been sent
    return statistics.fmean(took_s), (time.process_time() - began_s) / len(took_s)


def _share(added_s: Sequence[float], whole_s: Sequence[float]) -> Share:
    """Bootstrap of the ratio of the means, over rounds."""
    rng, pairs = random.Random(1), list(zip(added_s, whole_s, strict=True))
    drawn = sorted(_ratio(rng.choices(pairs, k=len(pairs))) for _ in range(DRAWS))
    return Share(point=_ratio(pairs), low=drawn[int(0.025 * DRAWS)], high=drawn[int(0.975 * DRAWS)])


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    return sum(added for added, _ in pairs) / sum(whole for _, whole in pairs)


def sdk_us() -> float:
    """Microseconds of OpenTelemetry's SDK for the two spans of an ask, kept in memory."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("bench")
    attributes = {f"key.{n}": f"value {n}" for n in range(12)}
    took = []
    for _ in range(20):
        began_s = time.perf_counter()
        for _ in range(500):
            with (
                tracer.start_as_current_span("publish", attributes=attributes),
                tracer.start_as_current_span("process", attributes=attributes),
            ):
                pass
        took.append((time.perf_counter() - began_s) / 500 * 1e6)
        exporter.clear()
    provider.shutdown()
    return statistics.median(took)
