"""``antiphon policy``: what nodes do differently, live: see, set and remove policies."""

import json
import re
from typing import Any, Final

import typer
from pydantic import TypeAdapter, ValidationError
from rich.table import Table

from antiphon.runtime.cli.common import run
from antiphon.runtime.cli.connection import connected
from antiphon.runtime.cli.screen import Console
from antiphon.runtime.client import Client
from antiphon.runtime.delivery.payload import problems
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.patterns.ticks import instant
from antiphon.runtime.policies.book import PolicyBook
from antiphon.runtime.policies.kinds import KINDS
from antiphon.schemas.policy import Action, Arms, Level, Policy, Proposal

app = typer.Typer(
    help="See, set and remove policies: remedies that running nodes apply without a restart. "
    "Every kind, its guards and its parameters: docs/policies.md.",
    no_args_is_help=True,
)

AS_JSON = typer.Option(False, "--json", help="Print JSON, errors included.")
_ACTION: Final[TypeAdapter[Action]] = TypeAdapter(Action)


@app.command("list")
def list_policies(as_json: bool = AS_JSON) -> None:
    """Show the stored policies; those that a system's code gives are not among them."""

    async def work() -> list[Policy]:
        async with connected() as client:
            return await (await _book(client)).entries()

    found = run(work(), as_json=as_json)
    if as_json:
        typer.echo(json.dumps([policy.model_dump(mode="json") for policy in found], ensure_ascii=False))
        return
    if not found:
        typer.echo("there are no policies", err=True)
        return
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("id", "what", "target", "agent", "level", "since", "reason"):
        table.add_column(name, no_wrap=name != "reason")
    for policy in found:
        proposal = policy.proposal
        since = instant(policy.since_unix_ms)
        table.add_row(
            policy.id, _what(proposal.action), proposal.target, proposal.agent, _level(policy), since, policy.reason
        )
    Console().print(table)


@app.command("set")
def set_policy(
    kind: str = typer.Option(..., help=f"What is done: {', '.join(KINDS)}."),
    target: str = typer.Option(
        ...,
        help='To what: "tool search", "model smollm2-135m", "ask critic.review", "call critic.review"; for concurrency '
        "an agent, for quorum and parallelise the handler that gathers.",
    ),
    param: list[str] = typer.Option([], metavar="NAME=VALUE", help="A parameter of the kind, such as ttl_s=60."),
    level: Level = typer.Option(
        Level.SUGGEST,
        help="suggest: shown, does nothing. shadow: both ways are computed, the old one is served. canary: a share of "
        "runs. on: all.",
    ),
    share: float = typer.Option(0.5, min=0.0, max=1.0, help="Of runs (or time slices) treated at level canary."),
    arms: Arms = typer.Option(Arms.RUN, help="At level canary: by run, or by time where runs share what is changed."),
    slice_s: float = typer.Option(10.0, min=1.0, max=3600.0, help="With --arms time: the length of a slice, in s."),
    agent: str = typer.Option("", help="Only operations of this agent's handlers; everybody's if not given."),
    id: str = typer.Option("", "--id", help="The policy's name; made of kind, target and agent if not given."),
    reason: str = typer.Option("", help="Why, for people."),
    as_json: bool = AS_JSON,
) -> None:
    """Store a policy, in the place of the one of its id. Nodes apply it within a second.

    antiphon policy set --kind cache --target "tool search" --param ttl_s=60 --level canary --share 0.5
    """

    async def work() -> Policy:
        policy = _policy(
            id=id or _id(kind, target, agent),
            proposal=Proposal(action=_action(kind, param), target=target, agent=agent or None),
            level=level,
            share=share,
            arms=arms,
            slice_s=slice_s,
            reason=reason,
        )
        async with connected() as client:
            return await (await _book(client)).set(policy)

    stored = run(work(), as_json=as_json)
    shown = stored.model_dump_json() if as_json else f"{stored.id}: {_what(stored.proposal.action)}, {_level(stored)}"
    typer.echo(shown)


@app.command("rm")
def remove(id: str = typer.Argument(help="The policy's id, as `antiphon policy list` shows it.")) -> None:
    """Remove a policy: nodes do again what they did without it. Status 1 if there is none of that id."""

    async def work() -> bool:
        async with connected() as client:
            return await (await _book(client)).remove(id)

    if not run(work()):
        typer.echo(f"no policy {id!r}: see `antiphon policy list`", err=True)
        raise typer.Exit(1)
    typer.echo("removed")


async def _book(client: Client) -> PolicyBook:
    host = client.host
    return await PolicyBook.open(host.bus, host.directory, host.clock, host.tenant)


def _action(kind: str, given: list[str]) -> Action:
    """The action of a kind with these parameters. Raises ConfigurationError, naming what there is."""
    if kind not in KINDS:
        raise ConfigurationError(f"--kind is {kind!r}, expected one of {', '.join(KINDS)}")
    parts = [each.partition("=") for each in given]
    bad = next((each for each, part in zip(given, parts, strict=True) if not (part[0] and part[1])), None)
    if bad is not None:
        raise ConfigurationError(f"--param is {bad!r}, expected NAME=VALUE, such as ttl_s=60")
    try:
        return _ACTION.validate_python({"kind": kind, **{name: _value(text) for name, _, text in parts}})
    except ValidationError as error:
        raise ConfigurationError(f"--kind {kind}: {problems(error)}; give each as --param NAME=VALUE") from None


def _policy(**given: Any) -> Policy:
    try:
        return Policy(**given)
    except ValidationError as error:
        raise ConfigurationError(f"the policy cannot be: {problems(error)}") from None


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _id(kind: str, target: str, agent: str) -> str:
    """One name for one thing: the same command again changes the policy instead of making a second one."""
    return re.sub(r"[^a-zA-Z0-9]+", "-", f"{kind} {target} {agent}").strip("-")[:64]


def _what(action: Action) -> str:
    parameters = action.model_dump(mode="json", exclude={"kind"})
    return " ".join([action.kind, *(f"{name}={value}" for name, value in parameters.items())])


def _level(policy: Policy) -> str:
    if policy.level is not Level.CANARY:
        return policy.level.value
    by = "runs" if policy.arms is Arms.RUN else f"{policy.slice_s:g} s slices"
    return f"canary, {policy.share:.0%} of {by}"
