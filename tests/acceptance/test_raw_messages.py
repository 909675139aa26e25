"""What any NATS client may send: bare bodies work, nonsense gets a typed error and a dead letter, the node goes on."""

import base64
import contextlib
import json
import socket
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import nats
import pytest
from nats.aio.client import Client as Nats

from antiphon import Client, Handler, TaskHandle, connect
from antiphon.runtime.bus.server import acquire, acquire_soon
from antiphon.runtime.delivery.payload import decode
from antiphon.runtime.errors import AntiphonError, MessageTooLarge
from antiphon.schemas import subjects
from antiphon.schemas.identity import derived_id
from antiphon.schemas.task import DeadLetter, TaskResult, TaskState

if TYPE_CHECKING:
    from tests.acceptance.conftest import Place

Peer = Callable[[str], Handler[Any, Any]]
ASK = "antiphon.default.ask.echo.ping"
TASK = "antiphon.default.task.echo.ping"


@dataclass(frozen=True, slots=True)
class Wire:
    """A foreign client beside one of ours, to see what came of its messages."""

    nats: Nats
    client: Client
    ping: Handler[Any, Any]

    async def outcome(self, body: bytes, headers: dict[str, str], subject: str = TASK) -> TaskResult:
        """Publish durable work; its terminal record."""
        ack = await self.nats.jetstream().publish(subject, body, headers=headers)
        task = headers.get("Antiphon-Task", "")
        if not task or "/" in task:
            task = derived_id("ANTIPHON_TASKS", str(ack.seq))
        handle = TaskHandle(self.client.host, task, task, self.ping)
        with contextlib.suppress(AntiphonError):  # what counts is the record
            await handle.result(timeout_s=240)
        found = await handle.outcome()
        assert found is not None, "it has no outcome"
        return found

    async def letter(self, agent: str = "echo") -> DeadLetter:
        """The agent's newest dead letter."""
        stored = await self.client.host.bus.streams.last(subjects.dead("default", agent))
        assert stored is not None
        return decode(DeadLetter, stored.body)


@pytest.fixture
async def wire(shared: "Place", peer: Peer) -> AsyncGenerator[Wire, None]:
    """A plain nats-py connection to the shared node's server."""
    server = await acquire_soon(shared.home)
    try:
        foreign = await nats.connect(server.url, token=server.token)
        async with connect(settings=shared.settings) as client:
            yield Wire(foreign, client, peer("echo.ping"))
        await foreign.close()
    finally:
        server.release()


async def test_a_bare_body_is_enough(wire: Wire) -> None:
    """No headers at all: defaults fill the rest, for an ask and for durable work."""
    reply = await wire.nats.request(ASK, b'{"n": 7}', timeout=60)
    assert json.loads(reply.data) == {"n": 7, "node": "shared"}
    found = await wire.outcome(b'{"n": 8}', {})
    assert (found.state, found.value, found.attempts) == (TaskState.SUCCEEDED, {"n": 8, "node": "shared"}, 1)


BAD = [
    pytest.param(b"{}", {}, "InvalidMessage", "n: Field required", id="missing field"),
    pytest.param(b'{"n": "x"}', {}, "InvalidMessage", "n: Input should be a valid integer", id="wrong type of field"),
    pytest.param(b'{"n": 1', {}, "InvalidMessage", "Invalid JSON", id="malformed"),
    pytest.param(b"", {}, "InvalidMessage", "Invalid JSON", id="empty"),
    pytest.param(b"\xff\x00\xfe", {}, "InvalidMessage", "Invalid JSON", id="binary"),
    pytest.param(b"[1]", {}, "InvalidMessage", "should be an object", id="not an object"),
    pytest.param(b"[" * 900_000, {}, "InvalidMessage", "Invalid JSON", id="deep"),
    pytest.param(b'{"n": 1}', {"Antiphon-Type": "Pong"}, "UnknownType", "expected 'Ping'", id="type"),
    pytest.param(
        b'{"n": 1}',
        {"Antiphon-Type": "Ping", "Antiphon-Version": "9"},
        "UnknownVersion",
        "reads version 1",
        id="version",
    ),
    pytest.param(b'{"n": 1}', {"Antiphon-Version": "nine"}, "InvalidMessage", "expected an integer", id="no version"),
    pytest.param(b'{"n": 1}', {"Antiphon-Deadline": "soon"}, "InvalidMessage", "expected an integer", id="no deadline"),
    pytest.param(b'{"n": 1}', {"Antiphon-Labels": "{"}, "InvalidMessage", "flat JSON object", id="no labels"),
    pytest.param(b'{"n": 1}', {"Antiphon-Labels": '{"a": [1]}'}, "InvalidMessage", "flat JSON object", id="nested"),
    pytest.param(b'{"n": 1}', {"Antiphon-Budget": '{"a": "x"}'}, "InvalidMessage", "expected numbers", id="no budget"),
    pytest.param(b'{"n": 1}', {"Antiphon-Deadline": "1"}, "DeadlineExceeded", "deadline passed", id="late"),
]


@pytest.mark.parametrize(("body", "headers", "error", "says"), BAD)
async def test_what_cannot_be_handled_is_a_typed_error_and_a_dead_letter(
    wire: Wire, body: bytes, headers: dict[str, str], error: str, says: str
) -> None:
    """An ask is answered with the error; durable work ends with it, its original bytes kept; the node goes on."""
    reply = await wire.nats.request(ASK, body, headers=headers or None, timeout=60)
    assert (reply.headers or {}).get("Antiphon-Error") == error, reply.data
    assert says in reply.data.decode()

    found = await wire.outcome(body, headers)
    assert found.error is not None
    assert found.error.type == error
    assert says in found.error.message
    assert found.state is (TaskState.CANCELLED if error == "DeadlineExceeded" else TaskState.FAILED)
    letter = await wire.letter()
    assert letter.reason == found.error
    assert letter.task == found.task
    kept = letter.body_sha256
    assert body == (await wire.client.host.bus.blobs.get(kept) if kept else base64.b64decode(letter.body_base64))
    assert json.loads((await wire.nats.request(ASK, b'{"n": 7}', timeout=60)).data)["n"] == 7


async def test_an_unreadable_task_id_does_not_lose_the_work(wire: Wire) -> None:
    """The outcome lies under the id that stands for the stored message."""
    found = await wire.outcome(b'{"n": 1}', {"Antiphon-Task": "not/an/id"})
    assert found.error is not None
    assert "task id 'not/an/id'" in found.error.message


async def test_a_handler_that_is_not_there_gets_a_dead_letter(wire: Wire) -> None:
    """Durable work that somebody stored for a handler of ours that does not exist ends at once."""
    found = await wire.outcome(b"{}", {}, subject="antiphon.default.task.echo.nothing")
    assert (found.state, found.error and found.error.type) == (TaskState.FAILED, "UnknownHandler")
    assert (await wire.letter()).subject == "antiphon.default.task.echo.nothing"


async def test_foreign_and_strange_headers_are_left_alone(wire: Wire) -> None:
    """What is not ours, and what a newer sender may add, does not stop a message; nor does a broken traceparent."""
    headers = {"X-Mine": "ü", "Antiphon-Newer": "yes", "traceparent": "00-nonsense", "tracestate": "===="}
    reply = await wire.nats.request(ASK, b'{"n": 2}', headers=headers, timeout=60)
    assert json.loads(reply.data)["n"] == 2, reply.headers
    assert (await wire.outcome(b'{"n": 2}', headers)).state is TaskState.SUCCEEDED


async def test_more_than_the_bus_carries_is_refused_by_the_server(wire: Wire) -> None:
    """A raw client cannot bring more than 1 MiB in either."""
    with pytest.raises(nats.errors.MaxPayloadError):
        await wire.nats.publish(TASK, b"x" * 1_100_000)


async def test_a_reply_that_is_too_large_is_an_error_to_whoever_waits(wire: Wire, peer: Peer) -> None:
    """An ask and a task both end, saying how large is too large."""
    swell = peer("echo.swell")
    with pytest.raises(MessageTooLarge, match="limit of 1048576"):
        await wire.client.ask(swell, swell.input(n=1_100_000))
    task = await wire.client.submit(swell, swell.input(n=1_100_000))
    with pytest.raises(MessageTooLarge, match="limit of 1048576"):
        await task.result(timeout_s=240)


def test_the_server_asks_for_its_token(shared: "Place") -> None:
    """Another user of the machine cannot just connect."""
    server = acquire(shared.home)
    try:
        host, _, port = server.url.removeprefix("nats://").partition(":")
        with socket.create_connection((host, int(port)), 5) as stranger, stranger.makefile("rb") as lines:
            assert lines.readline().startswith(b"INFO ")
            stranger.sendall(b'CONNECT {"auth_token": "wrong"}\r\nPING\r\n')
            assert lines.readline() == b"-ERR 'Authorization Violation'\r\n"
    finally:
        server.release()
