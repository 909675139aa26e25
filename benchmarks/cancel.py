"""How long a cancelled task goes on: until its handler has stopped, and until the model has stopped generating for it.

Handlers: a node in this process, on a connection of its own, runs 16 waiting tasks; ``task.cancel()`` is timed from the
call to the handler's ``finally``. The raw limit beside it: one core NATS message whose receiver cancels an asyncio
task. There is no peer: of the frameworks compared elsewhere none carries a cancellation to the worker.

Generation: the real small model on the CPU engine writes a long answer; at the moment of the cancellation another
request is made, and the time that it waits for the one worker of the model is the time the cancelled one went on.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import nats
import torch
from nats.aio.msg import Msg
from rich.console import Console
from rich.progress import track
from rich.table import Table

from antiphon import Agent, Context, Message
from antiphon.runtime.bus.nats import NatsBus
from antiphon.runtime.bus.server import ServerAddress, embedded_server
from antiphon.runtime.client import Client
from antiphon.runtime.compose import open_host
from antiphon.runtime.models.local import LocalModel
from antiphon.runtime.models.pull import pull
from antiphon.runtime.models.registry import ModelRegistry
from antiphon.runtime.node import Node
from antiphon.runtime.settings import Settings, load_settings
from antiphon.schemas.inference import Finish, GenerateRequest, Role, Sampling, turn

MODEL = "smollm2-135m"
WAITING = 16
STORY = "Write a long story about a lighthouse keeper and the sea."


class Job(Message):
    """What the handlers are given."""

    n: int = 0


async def raw_s(server: ServerAddress, rounds: int) -> list[float]:
    """From a publish to a cancelled asyncio task, in nats-py."""
    found: list[float] = []
    connection = await nats.connect(server.url, token=server.token)
    sender = await nats.connect(server.url, token=server.token)
    running: list[asyncio.Task[None]] = []

    async def stop(message: Msg) -> None:
        running[-1].cancel()

    await connection.subscribe("raw.cancel", cb=stop)
    await connection.flush()
    for _ in range(rounds):
        stopped = asyncio.Event()

        async def wait(stopped: asyncio.Event = stopped) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()

        running.append(asyncio.create_task(wait()))
        await asyncio.sleep(0)
        start = time.perf_counter()
        await sender.publish("raw.cancel", b"")
        await stopped.wait()
        found.append(time.perf_counter() - start)
    await connection.close()
    await sender.close()
    return found


async def handlers_s(server: ServerAddress, home: Path, rounds: int) -> list[float]:
    """From ``task.cancel()`` to the handler's ``finally``."""
    agent = Agent("waiter", slots=WAITING)
    began, ended = asyncio.Queue[int](), asyncio.Queue[float]()

    @agent.handles
    async def wait(job: Job, ctx: Context) -> Job:
        began.put_nowait(job.n)
        try:
            await asyncio.Event().wait()
        finally:
            ended.put_nowait(time.perf_counter())
        return job

    found: list[float] = []
    async with AsyncExitStack() as stack:
        hosts = []
        for name in ("node-waiter", "client"):
            bus = await NatsBus.connect(server.url, server.token, name=name)
            stack.push_async_callback(bus.close)
            hosts.append(await stack.enter_async_context(open_host(Settings(home=home), node=name, bus=bus)))
        await stack.enter_async_context(Node(hosts[0], [agent]))
        client = Client(hosts[1])
        for _ in track(range(rounds), description="handlers", console=Console(stderr=True), transient=True):
            tasks = [await client.submit(wait, Job(n=n)) for n in range(WAITING)]
            for _ in tasks:
                await began.get()
            for task in tasks:
                start = time.perf_counter()
                await task.cancel()
                found.append(await ended.get() - start)
    return found


async def generation_s(server: ServerAddress, home: Path, models: Path, rounds: int) -> list[float]:
    """From ``task.cancel()`` to a model that is free."""
    model = LocalModel(MODEL, pull(MODEL, models, lambda progress: None))
    agent = Agent("author", model=MODEL)

    @agent.handles
    async def write(job: Job, ctx: Context) -> Job:
        await ctx.model.generate(str, STORY, max_tokens=1024, emit=True)
        return job

    other = GenerateRequest(
        model=MODEL, conversation=(turn(Role.USER, "Hi"),), sampling=Sampling(max_tokens=1), priority=-9
    )

    async def waited_s() -> float:
        async for chunk in model.generate(other):
            if isinstance(chunk, Finish):
                assert chunk.timing.queue_s is not None  # the local model always says
                return chunk.timing.queue_s
        raise RuntimeError("the model ended without a Finish")

    found: list[float] = []
    async with AsyncExitStack() as stack:
        bus = await NatsBus.connect(server.url, server.token, name="author")
        stack.push_async_callback(bus.close)
        settings = Settings(home=home)
        registry = ModelRegistry(settings, bus=bus, instances={MODEL: model})
        stack.push_async_callback(registry.close)
        host = await stack.enter_async_context(open_host(settings, node="node-author", bus=bus, models=registry))
        await stack.enter_async_context(Node(host, [agent]))
        client = Client(host)
        for _ in track(range(rounds), description="generation", console=Console(stderr=True), transient=True):
            task = await client.submit(write, Job())
            events = client.follow(task.id, write)
            await anext(events)  # it writes
            waiting = asyncio.create_task(waited_s())
            await asyncio.sleep(0)  # it is in the model's queue
            await task.cancel()
            found.append(await waiting)
            await events.aclose()
    return found


def p95(values: list[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(values, n=20)[-1] if len(values) > 1 else values[0]


async def measure(quick: bool) -> dict[str, list[float]]:
    """Seconds of every cancellation."""
    models = load_settings().models_dir
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        async with embedded_server(home) as server:
            return {
                "raw nats-py": await raw_s(server, 40 if quick else 400),
                "handler": await handlers_s(server, home, 5 if quick else 40),
                "generation": await generation_s(server, home, models, 5 if quick else 40),
            }


def main() -> None:
    """Print the table and, as last line, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a short form: 80 handlers and 5 generations")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = asyncio.run(measure(options.quick))
    table = Table("cancelled", "times", "median ms", "p95 ms", "goal")
    for (name, values), goal in zip(found.items(), ("", "100 ms", "200 ms"), strict=True):
        table.add_row(
            name, str(len(values)), f"{statistics.median(values) * 1e3:.1f}", f"{p95(values) * 1e3:.1f}", goal
        )
    Console().print(table)
    print(
        json.dumps(
            {
                "raw_p95_ms": round(p95(found["raw nats-py"]) * 1e3, 2),
                "handler_p95_ms": round(p95(found["handler"]) * 1e3, 2),
                "handler_median_ms": round(statistics.median(found["handler"]) * 1e3, 2),
                "generation_p95_ms": round(p95(found["generation"]) * 1e3, 2),
                "generation_median_ms": round(statistics.median(found["generation"]) * 1e3, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
