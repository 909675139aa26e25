"""``antiphon session``: conversations that agents keep, to be looked at and forked."""

import json
from collections.abc import Sequence
from contextlib import aclosing

import typer
from rich.table import Table
from rich.text import Text

from antiphon.runtime.approvals import moment
from antiphon.runtime.cli.common import run
from antiphon.runtime.cli.connection import connected_host
from antiphon.runtime.cli.screen import Console, printable
from antiphon.runtime.console.terminal import duration
from antiphon.runtime.sessions.store import SessionStore, unknown
from antiphon.schemas.inference import Part, TextPart, ToolCall
from antiphon.schemas.session import SessionHead, SessionNode

app = typer.Typer(help="See the conversations that agents keep, and fork them.", no_args_is_help=True)

AGENT = typer.Argument(help="The agent's name.")
KEY = typer.Argument(help="The key of the conversation, such as the user's name.")
AS_JSON = typer.Option(False, "--json", help="Print one JSON object, errors included.")
_SHORT = 12  # digits of an address in tables; a beginning that is unique is enough for a fork


@app.command("list")
def list_sessions(
    agent: str = typer.Option("", help="Only those of this agent."),
    limit: int = typer.Option(50, min=1, help="How many at most."),
    as_json: bool = AS_JSON,
) -> None:
    """Show the conversations, the one that was used last first."""

    async def work() -> tuple[list[SessionHead], int]:
        async with connected_host() as host:
            return await SessionStore.of(host).heads(), host.clock.unix_ns() // 1_000_000

    heads, now_ms = run(work(), as_json=as_json)
    found = [head for head in heads if agent in ("", head.agent)]
    shown = found[:limit]
    if as_json:
        typer.echo(json.dumps([head.model_dump() for head in shown], ensure_ascii=False))
        return
    if not shown:
        typer.echo("there are no conversations", err=True)
        return
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("agent", "key", "turns", "tokens", "last used", "node"):
        table.add_column(name, overflow="ellipsis", no_wrap=True)
    for head in shown:
        ago = f"{duration(max(0, now_ms - head.updated_unix_ms) / 1000)} ago"
        cells = (head.agent, printable(head.key), f"{head.turn_count:,}", f"~{head.tokens:,}", ago, head.node[:_SHORT])
        table.add_row(*map(Text, cells))
    Console().print(table)
    if len(found) > len(shown):
        typer.echo(f"and {len(found) - len(shown)} more: raise --limit", err=True)


@app.command("show")
def show(
    agent: str = AGENT,
    key: str = KEY,
    last: int = typer.Option(100, min=1, help="How many nodes at most, from the newest back."),
    as_json: bool = AS_JSON,
) -> None:
    """Print a conversation: who said what, tool calls with their results, and the node of each part."""

    async def work() -> tuple[SessionHead, list[tuple[str, SessionNode]]]:
        async with connected_host() as host:
            store = SessionStore.of(host)
            head = await store.head(agent, key)
            if head is None:
                raise unknown(agent, key)
            found: list[tuple[str, SessionNode]] = []
            async with aclosing(store.nodes(head.node)) as nodes:
                async for each in nodes:
                    found.append(each)
                    if len(found) == last:
                        break
            return head, found[::-1]

    head, nodes = run(work(), as_json=as_json)
    if as_json:
        said = [{"node": address, **node.model_dump(mode="json", exclude={"back"})} for address, node in nodes]
        typer.echo(json.dumps({**head.model_dump(), "nodes": said}, ensure_ascii=False))
        return
    console = Console()
    console.print(Text(f"{head.agent} with {printable(head.key)}: {head.turn_count} turns, about {head.tokens} tokens"))
    if nodes and nodes[0][1].first:
        console.print(Text("earlier turns are left out: raise --last", "dim"))
    for address, node in nodes:
        covers = f", sums up the first {node.covers} turns" if node.covers else ""
        console.print(Text(f"\n{address[:_SHORT]}  {moment(node.unix_ms)}  {node.by}{covers}", "dim"))
        for turn in node.turns:
            console.print(Text(f"{turn.role.value}: ", "bold") + Text(_words(turn.parts)))


@app.command("fork")
def fork(
    agent: str = AGENT,
    key: str = KEY,
    new_key: str = typer.Argument(help="The key of the new conversation."),
    at: str = typer.Option("", help="The last node that it has, or enough of its beginning; the newest if not given."),
    as_json: bool = AS_JSON,
) -> None:
    """Begin another conversation with what was said in this one. Each then goes its own way."""

    async def work() -> SessionHead:
        async with connected_host() as host:
            return await SessionStore.of(host).fork(agent, key, new_key, at=at)

    head = run(work(), as_json=as_json)
    said = f"{agent} has a conversation under {new_key} with {head.turn_count} turns"
    typer.echo(head.model_dump_json() if as_json else said)


def _words(parts: Sequence[Part]) -> str:
    said = []
    for part in parts:
        if isinstance(part, TextPart):
            said.append(part.text)
        elif isinstance(part, ToolCall):
            said.append(f"[calls {part.name} with {json.dumps(part.arguments, ensure_ascii=False)}]")
        else:
            said.append(f"[{part.name} {'failed' if part.error else 'says'}: {part.content}]")
    return printable(" ".join(said))
