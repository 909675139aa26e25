"""``antiphon ask | submit | result | cancel | agents``: work for agents, from the shell."""

import json
from collections.abc import Mapping
from typing import Any

import typer
from rich.table import Table

from antiphon.runtime.agent import Handler
from antiphon.runtime.cli.common import body_of, run
from antiphon.runtime.cli.connection import connected, find_handler
from antiphon.runtime.cli.screen import Console
from antiphon.runtime.client import Client, Done
from antiphon.runtime.delivery.outcome import await_result, failure_of, read_result
from antiphon.runtime.described import handler_of
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.policies.limits import parse_budget
from antiphon.schemas.identity import InvalidName, check_task
from antiphon.schemas.message import Message
from antiphon.schemas.task import Gap, Restarted, TaskResult, Token

ADDRESS = typer.Argument(help="agent.handler, such as writer.write")
BODY = typer.Argument(help="The message as a JSON object; - reads standard input.")
TIMEOUT = typer.Option(None, "--timeout", min=0.001, help="Seconds until the work is given up.")
AS_JSON = typer.Option(False, "--json", help="Print one JSON object, errors included.")
TASK = typer.Argument(help="A task id, as submit prints it.")


def ask(
    address: str = ADDRESS,
    body: str = BODY,
    timeout: float = typer.Option(30.0, min=0.001, help="Seconds to wait for the answer."),
    as_json: bool = AS_JSON,
) -> None:
    """Ask an agent and print its reply: quick, not stored."""

    async def work() -> dict[str, Any]:
        message = body_of(body)
        async with connected() as client:
            handler = await _handler(client, address)
            reply = await client.ask(handler, handler.input.model_validate(message), timeout_s=timeout)
            return reply.model_dump(mode="json")

    typer.echo(json.dumps(run(work(), as_json=as_json), indent=None if as_json else 2, ensure_ascii=False))


def submit(
    address: str = ADDRESS,
    body: str = BODY,
    wait: bool = typer.Option(False, "--wait", help="Wait for the outcome and print it; show what is emitted."),
    key: str = typer.Option("", help="Idempotency key: the same key is the same task."),
    timeout: float | None = TIMEOUT,
    budget: str = typer.Option("", help="What the whole run may use, such as tokens=10000,usd=0.5,steps=50,wall_s=60."),
    as_json: bool = AS_JSON,
) -> None:
    """Store a durable task. Once this printed an id, the task cannot be lost."""

    async def work() -> None:
        message = body_of(body)
        limits = parse_budget(budget) if budget else {}
        async with connected() as client:
            handler = await _handler(client, address)
            if wait and not key and not as_json:
                await _stream(client, handler, handler.input.model_validate(message), timeout, limits)
                return
            task = await client.submit(
                handler,
                handler.input.model_validate(message),
                idempotency_key=key or None,
                timeout_s=timeout,
                budget=limits,
            )
            if not wait:
                typer.echo(json.dumps({"task": task.id, "run": task.run}) if as_json else task.id)
                return
            reply = await task.result()
            found = reply.model_dump(mode="json")
            typer.echo(json.dumps({"task": task.id, "run": task.run, "value": found} if as_json else found))

    run(work(), as_json=as_json)


def result(
    task: str = TASK,
    wait: bool = typer.Option(False, "--wait", help="Wait until there is one."),
    timeout: float | None = TIMEOUT,
) -> None:
    """Print a task's terminal record as JSON; status 1 unless it succeeded."""

    async def work() -> TaskResult:
        _check(task)
        async with connected() as client:
            host = client.host
            deadline = None if timeout is None else host.clock.unix_ns() // 1_000_000 + int(timeout * 1000)
            if wait:
                return await await_result(host.bus, host.clock, host.tenant, task, deadline_unix_ms=deadline)
            found = await read_result(host.bus, host.tenant, task)
            if found is None:
                raise ConfigurationError(f"task {task} has no outcome: it is queued, running or unknown; add --wait")
            return found

    found = run(work())
    typer.echo(found.model_dump_json(indent=2))
    if found.error is not None or found.state != "succeeded":
        typer.echo(str(failure_of(found)), err=True)
        raise typer.Exit(1)


def cancel(task: str = TASK) -> None:
    """Stop a task, queued or running; status 1 if it had ended before."""

    async def work() -> bool:
        _check(task)
        async with connected() as client:
            return await client.cancel(task)

    if not run(work()):
        typer.echo(f"task {task} had ended before: see `antiphon result {task}`", err=True)
        raise typer.Exit(1)
    typer.echo("cancelled")


def agents(as_json: bool = AS_JSON) -> None:
    """List the agents, their handlers and the nodes that are alive."""

    async def work() -> tuple[list[Any], list[Any]]:
        async with connected() as client:
            directory = client.host.directory
            return await directory.agents(), await directory.nodes()

    cards, nodes = run(work(), as_json=as_json)
    if as_json:
        typer.echo(json.dumps({"agents": [c.model_dump() for c in cards], "nodes": [n.model_dump() for n in nodes]}))
        return
    table = Table("agent", "version", "handler", "takes", "returns", "alive on")
    for card in sorted(cards, key=lambda card: (card.name, card.version)):
        named = f"{card.name}@{card.version}"
        alive = ", ".join(node.node for node in nodes if named in node.versions) or "[dim]nobody now[/dim]"
        for index, handler in enumerate(card.handlers):
            first = index == 0
            who = (card.name, card.version) if first else ("", "")
            row = (*who, handler.name, handler.input.name, handler.output.name)
            table.add_row(*row, alive if first else "")
        if not card.handlers:
            table.add_row(card.name, card.version, "", "", "", alive)
    Console().print(table)


async def _stream(
    client: Client,
    handler: Handler[Message, Message],
    message: Message,
    timeout_s: float | None,
    budget: Mapping[str, float],
) -> None:
    shown = False
    async for event in client.stream(handler, message, timeout_s=timeout_s, budget=budget):
        if isinstance(event, Done):
            typer.echo(("\n" if shown else "") + json.dumps(event.value.model_dump(mode="json"), ensure_ascii=False))
        elif isinstance(event, Token):
            shown = True
            typer.echo(event.text, nl=False)
        elif isinstance(event, Restarted):
            typer.echo(f"\n-- attempt {event.attempt}: the worker died or failed, starting anew --", err=True)
        elif isinstance(event, Gap):
            typer.echo(f"\n-- {event.missed} items were missed --", err=True)
        else:
            typer.echo(json.dumps(event.value, ensure_ascii=False), err=True)


async def _handler(client: Client, text: str) -> Handler[Message, Message]:
    """The handler as the directory describes it; its types take any fields, the node checks them."""
    return handler_of(*await find_handler(client, text))


def _check(task: str) -> None:
    try:
        check_task(task)
    except InvalidName as error:
        raise ConfigurationError(str(error)) from None
