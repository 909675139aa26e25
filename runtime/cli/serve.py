"""``antiphon run | up | serve``: the commands that stay until they are told to stop."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import structlog
import typer

from antiphon.runtime.cli.common import run, settings, until_signalled
from antiphon.runtime.cli.models import ensure_pulled
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.loader import load_system
from antiphon.runtime.models.pull import PACKAGED
from antiphon.runtime.models.setting import BusSetting, LocalSetting, ModelSetting
from antiphon.runtime.settings import Settings
from antiphon.schemas.identity import InvalidName, check_name

if TYPE_CHECKING:
    from antiphon.runtime.telemetry.feed import Feed
    from antiphon.runtime.telemetry.setup import Telemetry

log = structlog.get_logger()

CONSOLE_START_S = 60.0  # two are usual; a console that cannot start says so and ends at once
CONSOLE_END_S = 15.0
ADDRESS, PORT = "127.0.0.1", 8485  # of the OpenAI gateway
AT_ONCE = 64  # requests of a tenant that a model which is not local is given
UNTIL_EOF = typer.Option(False, "--until-eof", help="Stop when standard input closes: the parent has gone.")


def run_system(
    target: str = typer.Argument(help="FILE.py:NAME or package.module:NAME of an antiphon.System."),
    console: bool = typer.Option(
        True, help="Start the console (antiphon up, where the settings say) if none is alive; it ends with this."
    ),
    name: str = typer.Option("", help="The node's name; made up if not given."),
    until_eof: bool = UNTIL_EOF,
) -> None:
    """Host a system's agents on this node; run it several times, on any machine, to share the load."""

    async def work() -> None:
        from antiphon.runtime.compose import node_name, open_host
        from antiphon.runtime.node import Node

        stop = until_signalled()
        if until_eof:
            _stop_at_eof(stop)
        system = load_system(target)
        found = settings().with_models(system.models)
        _configure_logging(found, None)
        async with AsyncExitStack() as stack:
            host = await stack.enter_async_context(open_host(found, node=name or node_name("node")))
            _instrument(found, host.telemetry)
            if console and not any(card.kind == "console" for card in await host.directory.nodes()):
                await stack.enter_async_context(_Console())
            await stack.enter_async_context(Node(host, system.agents, policies=system.policies))
            agents = ", ".join(agent.name for agent in system.agents)
            typer.echo(f"node {host.node} serves {agents}; Ctrl-C drains and stops", err=True)
            await stop.wait()

    run(work())


def up(
    port: int | None = typer.Option(None, min=0, max=65535, help="The console's port; 0 takes any free one."),
    host: str = typer.Option(
        "",
        help="The address the console listens on; only this machine's own if not given. Others need console_passwords "
        "and a certificate, or a web server with a login before it (docs/console.md).",
    ),
    servers: int | None = typer.Option(
        None, help="How many bus servers this home has: 1, or a cluster of 3 or 5; as last time if not given."
    ),
    until_eof: bool = UNTIL_EOF,
) -> None:
    """Start bus (if none), store, logging agent and the console, until told to stop."""

    async def work() -> None:
        from antiphon.runtime.observatory import observatory

        stop = until_signalled()
        if until_eof:
            _stop_at_eof(stop)
        found = settings()
        if port is not None:
            found = found.model_copy(update={"console_port": port})
        if host:
            found = found.model_copy(update={"console_host": host})
        _configure_logging(found, None)
        async with AsyncExitStack() as stack:
            if servers is not None:
                await stack.enter_async_context(_servers(found, servers))
            running = await stack.enter_async_context(observatory(found))
            _instrument(found, running.host.telemetry)
            typer.echo(f"console: {running.url}", err=False)
            sys.stdout.flush()
            await stop.wait()

    run(work())


def _tenant_names(given: list[str]) -> list[str]:
    try:
        return [check_name("tenant", name) for name in given]
    except InvalidName as error:
        raise typer.BadParameter(str(error)) from None


def serve_model(
    models: list[str] = typer.Argument(
        None, metavar="MODEL", help="A model of the settings, a packaged or a pulled one; with --openai several."
    ),
    tenant: list[str] = typer.Option(
        [],
        callback=_tenant_names,
        help="Whose requests to take, several times for several; if not given, this one's and those with units.",
    ),
    concurrency: int | None = typer.Option(
        None,
        min=1,
        help="Requests of a tenant that the instance is given at once; if not given, as many as the engine of a local "
        f"model takes, {AT_ONCE} for another.",
    ),
    openai: bool = typer.Option(False, "--openai", help="Serve OpenAI's API over HTTP: the models named, or all."),
    host: str | None = typer.Option(None, help=f"With --openai: the address to listen on; {ADDRESS} if not given."),
    port: int | None = typer.Option(
        None, min=0, max=65535, help=f"With --openai: the port; {PORT} if not given, 0 takes any free one."
    ),
) -> None:
    """Serve a model to every node on the bus (where settings say NAME = "bus"); run several to share the load.

    A local model runs in a process of its own, which is started again when it crashes.
    """
    if openai:
        if tenant or concurrency is not None:
            raise typer.BadParameter(
                "expected none with --openai: each caller is a tenant, and all are served at once",
                param_hint="--tenant, --concurrency",
            )
        run(_openai(models or [], ADDRESS if host is None else host, PORT if port is None else port))
        return
    if host is not None or port is not None:
        raise typer.BadParameter(
            "expected --openai with it: a model on the bus listens nowhere", param_hint="--host, --port"
        )
    if len(models or ()) != 1:
        raise typer.BadParameter("expected the name of one model", param_hint="MODEL")
    run(_serve(models[0], tenant, concurrency))


async def _serve(given: str, tenants: list[str], concurrency: int | None) -> None:
    from antiphon.runtime.compose import node_name, open_host
    from antiphon.runtime.models.server import ModelServer
    from antiphon.runtime.node import Node

    stop = until_signalled()
    name, found = placed(given, settings())
    _configure_logging(found, None)
    setting = found.models.get(name)
    if isinstance(setting, LocalSetting):
        await asyncio.to_thread(ensure_pulled, setting, found.models_dir)
        tenants = tenants or [found.tenant, *setting.units]
    async with AsyncExitStack() as stack:
        host = await stack.enter_async_context(open_host(found, node=node_name("model"), apart=True))
        _instrument(found, host.telemetry)
        instance = await host.models.get(name)
        if isinstance(setting, LocalSetting):
            await instance.capabilities()  # loads it: nobody is to wait for that, and what is wrong is said here
        for tenant in dict.fromkeys(tenants or [found.tenant]):
            server = ModelServer(
                host.bus,
                tenant,
                name,
                instance,
                node=host.node,
                concurrency=concurrency or at_once(setting),
                tracer=host.telemetry.tracer,
                clock=host.clock,
            )
            await server.start()
            stack.push_async_callback(server.close)
        await stack.enter_async_context(Node(host, (), kind="model", models=(name,)))
        typer.echo(f"node {host.node} serves the model {name}; Ctrl-C stops", err=True)
        await stop.wait()


def at_once(setting: ModelSetting | None) -> int:
    """How many requests of a tenant its instance is given: those in line before it know no order but arrival's."""
    return setting.places if isinstance(setting, LocalSetting) else AT_ONCE


def placed(given: str, found: Settings) -> tuple[str, Settings]:
    """The name of a model to serve, and settings that say where it runs. What was pulled needs none of its own.

    Raises:
        ConfigurationError: the settings say that somebody else serves it.
    """
    setting = found.models.get(given)
    if setting is not None and not isinstance(setting, BusSetting):
        return given, found
    for name, other in found.models.items():
        if isinstance(other, LocalSetting) and other.path == given:
            return name, found
    if given in PACKAGED or given.startswith("hf:"):
        name = re.sub(r"[^a-z0-9_-]+", "-", given.rpartition("/")[2].lower())
        return name, found.model_copy(update={"models": {**found.models, name: LocalSetting(path=given)}})
    if isinstance(setting, BusSetting):
        raise ConfigurationError(f'model {given!r} is "bus" in settings: this process must say where it runs')
    return given, found


async def _openai(models: list[str], address: str, port: int) -> None:
    from antiphon.runtime.compose import node_name, open_host
    from antiphon.runtime.gateways.openai.serve import open_gateway
    from antiphon.runtime.node import Node

    stop = until_signalled()
    found = settings()
    _configure_logging(found, None)
    names: list[str] = []
    for given in models:
        name = given
        if not isinstance(found.models.get(name), BusSetting):
            name, found = placed(given, found)
        setting = found.models.get(name)
        if isinstance(setting, LocalSetting):
            await asyncio.to_thread(ensure_pulled, setting, found.models_dir)
        names.append(name)
    async with AsyncExitStack() as stack:
        host = await stack.enter_async_context(open_host(found, node=node_name("gateway"), apart=True))
        _instrument(found, host.telemetry)
        gateway = await stack.enter_async_context(open_gateway(found, host, names, address=address, port=port))
        await stack.enter_async_context(Node(host, (), kind="gateway", address=gateway.url))
        typer.echo(gateway.how_to())
        sys.stdout.flush()
        await stop.wait()


@asynccontextmanager
async def _servers(found: Settings, count: int) -> AsyncGenerator[None, None]:
    """The embedded servers, ``count`` of them; whatever connects afterwards joins them."""
    from antiphon.runtime.bus.server import embedded_server

    if found.nats_url is not None:
        raise ConfigurationError(
            f"--servers {count} starts servers of this home, and ANTIPHON_NATS_URL names another: unset one of them"
        )
    async with embedded_server(found.home, servers=count, sync_always=found.durability == "strict") as address:
        typer.echo(f"bus: {address.url}", err=True)
        yield


class _Console:
    """``antiphon up`` as a child that ends when this process does, SIGKILL included: its standard input closes."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> "_Console":
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "antiphon.runtime.cli.main",
            "up",
            "--until-eof",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
            env=os.environ,
        )
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), CONSOLE_START_S)
        except TimeoutError:
            line = b""
        if line:
            typer.echo(line.decode().rstrip(), err=True)
        else:
            typer.echo("the console did not start (see above); agents run without it", err=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), CONSOLE_END_S)
        except TimeoutError:
            process.kill()
            await process.wait()


def _stop_at_eof(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def on_readable() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            loop.remove_reader(sys.stdin.fileno())
            stop.set()

    loop.add_reader(sys.stdin.fileno(), on_readable)


def _instrument(found: Settings, telemetry: "Telemetry") -> None:
    """Make this process's logs and other people's instrumentation part of its record."""
    from opentelemetry import trace

    _configure_logging(found, telemetry.feed)
    trace.set_tracer_provider(telemetry.provider)


def _configure_logging(found: Settings, feed: "Feed | None") -> None:
    """Lines to standard error; called again with the feed once there is one, so that they reach the store too."""
    from antiphon.runtime.clock import SystemClock
    from antiphon.runtime.telemetry.logs import configure_logging

    configure_logging(found.log_level, clock=SystemClock(), feed=feed.add_log if feed is not None else None)
