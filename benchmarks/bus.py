"""Ask throughput and latency: Antiphon on NATS beside raw nats-py and FastStream, in one run.

Method: one process, 128 worker loops, a body of 120 bytes, raw without headers; for Antiphon a typed handler with
validation on both sides, once with tracing off and once at 100 % with spans published and no store running. The
variants take turns in slices of a quarter of a second, and every ratio is that of neighbours in one round: the speed
of a shared machine changes by half within seconds. Medians over rounds.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import nats
from faststream import FastStream
from faststream.nats import NatsBroker
from nats.aio.msg import Msg
from pydantic import BaseModel
from rich.console import Console
from rich.progress import track
from rich.table import Table

from antiphon import Agent, Context, Message, System
from antiphon.runtime.bus.nats import NatsBus
from antiphon.runtime.bus.server import embedded_server
from antiphon.runtime.client import Client
from antiphon.runtime.compose import open_host
from antiphon.runtime.node import Node
from antiphon.runtime.settings import Settings

RAW, OFF, TRACED, FAST = "raw nats-py", "antiphon, tracing off", "antiphon, tracing 100 %", "faststream"
WORKERS = 128
BODY_BYTES = 120
TEXT = "x" * (BODY_BYTES - len('{"text":""}'))
Call = Callable[[], Awaitable[object]]


class Echo(Message):
    """What is asked and answered."""

    text: str


class PlainEcho(BaseModel):
    """The same for FastStream."""

    text: str


async def raw(stack: AsyncExitStack, url: str, token: str) -> Call:
    """nats-py request and reply: the limit."""
    connection = await nats.connect(url, token=token)
    stack.push_async_callback(connection.close)

    async def answer(message: Msg) -> None:
        await message.respond(message.data)

    await connection.subscribe("raw.echo", cb=answer)
    body = Echo(text=TEXT).model_dump_json().encode()
    return lambda: connection.request("raw.echo", body, timeout=10)


async def faststream(stack: AsyncExitStack, url: str, token: str) -> Call:
    """FastStream's typed request and reply."""
    broker = NatsBroker(url, token=token, logger=None)

    @broker.subscriber("fast.echo")
    async def answer(message: PlainEcho) -> PlainEcho:
        return message

    app = FastStream(broker, logger=None)
    await broker.connect()
    await app.start()
    stack.push_async_callback(app.stop)
    message = PlainEcho(text=TEXT)

    async def call() -> object:
        reply = await broker.request(message, "fast.echo", timeout=10)
        return PlainEcho.model_validate_json(reply.body)

    return call


def antiphon(agent: str, trace: float) -> Callable[[AsyncExitStack, str, str], Awaitable[Call]]:
    """Antiphon's typed ask; node and client share the process and a connection, as the raw variant does."""

    async def build(stack: AsyncExitStack, url: str, token: str) -> Call:
        echo_agent = Agent(agent, slots=WORKERS)

        @echo_agent.handles
        async def echo(message: Echo, ctx: Context) -> Echo:
            return message

        settings = Settings(home=Path(tempfile.gettempdir()), trace=trace)
        bus = await NatsBus.connect(url, token, name=agent)
        stack.push_async_callback(bus.close)
        host = await stack.enter_async_context(open_host(settings, node=f"node-{agent}", bus=bus))
        await stack.enter_async_context(Node(host, System(agent, agents=[echo_agent]).agents))
        client = Client(host)
        message = Echo(text=TEXT)
        return lambda: client.ask(echo, message, timeout_s=10)

    return build


async def throughput(call: Call, seconds: float) -> float:
    """Calls per second of 128 worker loops."""
    end = time.perf_counter() + seconds
    done = 0

    async def loop() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await call()
            done += 1

    start = time.perf_counter()
    await asyncio.gather(*(loop() for _ in range(WORKERS)))
    return done / (time.perf_counter() - start)


async def latency_us(call: Call, calls: int) -> float:
    """Median microseconds of one call after another."""
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        await call()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


@dataclass(frozen=True, slots=True)
class Row:
    """One variant's medians; ``of_raw`` are medians of the ratios within each round."""

    rate: float
    latency_us: float
    rate_of_raw: float
    latency_of_raw: float


async def measure(rounds: int, seconds: float, calls: int) -> tuple[dict[str, Row], float]:
    """Every variant's medians, and how the traced one compares with FastStream."""
    variants = {
        RAW: raw,
        OFF: antiphon("off", 0.0),
        TRACED: antiphon("traced", 1.0),
        FAST: faststream,
    }
    rates: dict[str, list[float]] = {name: [] for name in variants}
    delays: dict[str, list[float]] = {name: [] for name in variants}
    async with AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        server = await stack.enter_async_context(embedded_server(home))
        built = {name: await build(stack, server.url, server.token) for name, build in variants.items()}
        for call in built.values():
            await throughput(call, seconds)
        for _ in track(range(rounds), description="rounds", console=Console(stderr=True), transient=True):
            for name, call in built.items():
                rates[name].append(await throughput(call, seconds))
            for name, call in built.items():
                delays[name].append(await latency_us(call, calls))
    rows = {
        name: Row(
            rate=statistics.median(rates[name]),
            latency_us=statistics.median(delays[name]),
            rate_of_raw=_ratio(rates[name], rates[RAW]),
            latency_of_raw=_ratio(delays[name], delays[RAW]),
        )
        for name in variants
    }
    return rows, _ratio(rates[TRACED], rates[FAST])


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def main() -> None:
    """Run, print a table, and one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a short form: 8 rounds instead of 50")
    quick = parser.parse_args().quick
    rows, traced_vs_faststream = asyncio.run(measure(8 if quick else 50, 0.25, 100))
    table = Table("variant", "asks/s", "of raw", "median us", "of raw")
    for name, row in rows.items():
        table.add_row(
            name, f"{row.rate:,.0f}", f"{row.rate_of_raw:.2f}", f"{row.latency_us:.0f}", f"{row.latency_of_raw:.2f}"
        )
    Console().print(table)
    print(
        json.dumps(
            {
                "untraced_vs_raw": round(rows[OFF].rate_of_raw, 4),
                "traced_vs_raw": round(rows[TRACED].rate_of_raw, 4),
                "traced_vs_faststream": round(traced_vs_faststream, 4),
                "sequential_vs_raw": round(rows[OFF].latency_of_raw, 4),
                "sequential_traced_vs_raw": round(rows[TRACED].latency_of_raw, 4),
                "raw_per_s": round(rows[RAW].rate, 1),
                "raw_latency_us": round(rows[RAW].latency_us, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
