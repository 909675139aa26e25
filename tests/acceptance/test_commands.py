"""The commands of the README against a node and a console that run: submit, result, agents, schemas, trace, ask."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from antiphon import Handler, Token, connect, remote
from antiphon.runtime.errors import AntiphonError

if TYPE_CHECKING:
    from tests.acceptance.conftest import Eventually, Place

Peer = Callable[[str], Handler[Any, Any]]


def test_submit_and_wait_prints_the_reply_and_result_the_record(shared: "Place", eventually: "Eventually") -> None:
    """A task's id leads to its terminal record, and its run to a trace in the store."""
    done = shared.command("submit", "echo.ping", '{"n": 3}', "--wait", "--json")
    assert done.returncode == 0, done.stderr
    task = json.loads(done.stdout)
    assert task["value"] == {"n": 3, "node": "shared"}

    record = shared.command("result", task["task"])
    assert record.returncode == 0, record.stderr
    assert json.loads(record.stdout)["state"] == "succeeded"

    def traced() -> str:
        found = shared.command("trace", task["run"])
        return found.stdout if found.returncode == 0 and " ms" in found.stdout else ""

    tree = eventually(traced, lambda: shared.command("trace").stdout)
    assert "echo.ping" in tree


def test_submit_without_waiting_prints_an_id_that_result_can_wait_for(shared: "Place") -> None:
    """The body may come from standard input, and the same key is the same task."""
    first = shared.command("submit", "echo.ping", "-", "--key", "once", stdin='{"n": 4}')
    second = shared.command("submit", "echo.ping", "-", "--key", "once", stdin='{"n": 4}')
    assert re.fullmatch(r"[0-9a-f]{32}\n", first.stdout), first.stderr
    assert second.stdout == first.stdout
    record = shared.command("result", first.stdout.strip(), "--wait", "--timeout", "240")
    assert json.loads(record.stdout)["value"]["n"] == 4


def test_what_a_handler_emits_is_shown_before_its_reply(shared: "Place") -> None:
    """submit --wait prints tokens, then the reply on a line of its own."""
    done = shared.command("submit", "echo.chatter", '{"n": 3}', "--wait")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["0 1 2 ", '{"n": 3, "node": "shared"}']


def test_agents_says_who_serves_what(shared: "Place") -> None:
    """Every handler with its types, and the nodes that are alive, the console among them."""
    found = json.loads(shared.command("agents", "--json").stdout)
    cards = {card["name"]: card for card in found["agents"]}
    assert {"echo", "worker", "tree", "leaf", "ground", "logging-agent"} <= set(cards)
    assert [handler["input"]["name"] for handler in cards["echo"]["handlers"]] == ["Ping", "Ping", "Ping"]
    assert {node["kind"] for node in found["nodes"] if node["kind"] != "client"} == {"node", "console"}
    assert "shared" in shared.command("agents").stdout


def test_ask_prints_the_reply(shared: "Place") -> None:
    """The quick way, as one line of JSON on request."""
    done = shared.command("ask", "echo.ping", '{"n": 5}', "--json")
    assert json.loads(done.stdout) == {"n": 5, "node": "shared"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("ask", "nobody.ping", "{}"), "UnknownAgent: no agent 'nobody' (known: echo, "),
        (("submit", "nobody.ping", "{}", "--wait"), "UnknownAgent: no agent 'nobody'"),
        (
            ("ask", "echo.pong", "{}"),
            "UnknownHandler: agent 'echo' has no handler 'pong' (it has: chatter, ",
        ),
        (("ask", "echo.ping", '{"m": 3}'), "InvalidMessage: Ping: n: Field required; m: Extra inputs are not"),
        (("submit", "echo.ping", '{"n": "three"}', "--wait"), "InvalidMessage: Ping: n: Input should be a valid"),
        (("result", "0" * 32), "has no outcome"),
        (("cancel", "not/an/id"), "expected 1 to 128 characters"),
    ],
)
def test_bad_input_is_a_typed_error_and_status_1(shared: "Place", arguments: tuple[str, ...], says: str) -> None:
    """On standard error, with nothing on standard output and no traceback."""
    done = shared.command(*arguments)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_body_over_the_limit_is_refused_with_sizes(shared: "Place") -> None:
    """More than max_body_mb through ask and submit: MessageTooLarge, and the node goes on."""
    body = json.dumps({"n": 1, "text": "x" * 1_100_000})
    for command in ("ask", "submit"):
        done = shared.command(command, "echo.ping", "-", stdin=body)
        assert done.returncode == 1
        assert re.match(r"MessageTooLarge: a body of 110\d{4} bytes .* limit of 1048576", done.stderr), done.stderr[
            :500
        ]
    assert shared.command("ask", "echo.ping", '{"n": 1}').returncode == 0


async def test_two_nodes_share_the_load(place: "Place", peer: Peer) -> None:
    """Of forty tasks that take a moment each, both nodes serve some, and every one is served once."""
    for name in ("first", "second"):
        await asyncio.to_thread(place.node, "--name", name)
    ping = peer("echo.ping")
    async with connect(settings=place.settings) as client:
        tasks = await asyncio.gather(*(client.submit(ping, ping.input(n=n, hold_s=0.05)) for n in range(40)))
        found = await asyncio.gather(*(task.result(timeout_s=240) for task in tasks))
    assert [pong.n for pong in found] == list(range(40))
    served = Counter(pong.node for pong in found)
    assert min(served["first"], served["second"]) >= 5, served


async def test_a_client_in_another_process_streams(shared: "Place", peer: Peer) -> None:
    """connect() on the home's settings sees tokens and the typed result."""
    chatter = peer("echo.chatter")
    async with connect(settings=shared.settings) as client:
        events = [event async for event in client.stream(chatter, chatter.input(n=2))]
        with pytest.raises(AntiphonError, match="has no handler"):
            await client.submit(remote("echo.gone", chatter.input, chatter.output), chatter.input(n=1))
    assert "".join(event.text for event in events if isinstance(event, Token)) == "0 1 "
