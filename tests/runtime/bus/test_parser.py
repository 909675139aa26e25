"""The quick parser delivers what the stock parser would, however the bytes are cut."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError

from antiphon.runtime.bus.parser import QuickParser, Sink

Seen = list[tuple[str, str, bytes, bytes | None]]
_OURS, _THEIRS = 7, 8


class Client:
    """What a parser calls."""

    def __init__(self) -> None:
        self.seen: Seen = []
        self.stock: Seen = []
        self.pings = 0

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        target = self.seen if sid == _OURS else self.stock
        target.append((subject.decode(), reply.decode(), data, headers))

    async def _process_ping(self) -> None:
        self.pings += 1


def _message(sid: int, reply: str, body: bytes, headers: bytes | None) -> bytes:
    middle = f" {reply} " if reply else " "
    if headers is None:
        return f"MSG a.b {sid}{middle}{len(body)}\r\n".encode() + body + b"\r\n"
    sizes = f"{len(headers)} {len(headers) + len(body)}"
    return f"HMSG a.b {sid}{middle}{sizes}\r\n".encode() + headers + body + b"\r\n"


_one = st.tuples(
    st.sampled_from([_OURS, _OURS, _THEIRS]),
    st.sampled_from(["", "inbox.1"]),
    st.sampled_from([b"", b"body", b"\r\n", b"MSG a 7 1\r\n", b"x" * 300_000]) | st.binary(max_size=50),
    st.sampled_from([None, b"NATS/1.0\r\nk: v\r\n\r\n"]),
)


@given(st.lists(_one | st.none(), max_size=8), st.lists(st.integers(1, 60), min_size=1, max_size=20))
async def test_any_cut(messages: list[Any], cuts: list[int]) -> None:
    """Messages for us and for others, with PINGs (None) between, arrive once, whole and in order."""
    client = Client()
    sinks: dict[int, Sink] = {_OURS: lambda *parts: client.seen.append(parts)}
    parser = QuickParser(client, sinks)  # type: ignore[arg-type]  # a stand-in for nats-py's client
    wire = b"".join(b"PING\r\n" if message is None else _message(*message) for message in messages)
    turn = 0
    while wire:
        cut = cuts[turn % len(cuts)] if len(wire) < 5_000 else 50_000
        await parser.parse(wire[:cut])
        wire, turn = wire[cut:], turn + 1
    expected = [message for message in messages if message is not None]
    assert client.seen == [("a.b", *message[1:]) for message in expected if message[0] == _OURS]
    assert client.stock == [("a.b", *message[1:]) for message in expected if message[0] == _THEIRS]
    assert client.pings == messages.count(None)


async def test_reset_forgets_a_half_message() -> None:
    """After a reconnect the rest of an old message does not mix with the new stream."""
    client = Client()
    sinks: dict[int, Sink] = {_OURS: lambda *parts: client.seen.append(parts)}
    parser = QuickParser(client, sinks)  # type: ignore[arg-type]  # a stand-in for nats-py's client
    await parser.parse(b"MSG a.b 7 100\r\nhalf")
    parser.reset()
    await parser.parse(_message(_OURS, "", b"whole", None))
    assert client.seen == [("a.b", "", b"whole", None)]


@pytest.mark.parametrize("line", [b"MSG a.b 7 x\r\n\r\n", b"HMSG a.b\r\n"])
async def test_nonsense_is_an_error(line: bytes) -> None:
    """A line that no server sends is a protocol error, as in the stock parser: the client reconnects."""

    parser = QuickParser(Client(), {_OURS: lambda *parts: None})  # type: ignore[arg-type]  # as above
    with pytest.raises(ProtocolError):
        await parser.parse(line)


async def test_failing_sink_is_no_error_of_the_connection() -> None:
    """A sink that raises is logged; the next message still arrives."""
    client = Client()

    def sink(subject: str, reply: str, body: bytes, headers: bytes | None) -> None:
        if body == b"bad":
            raise ValueError("on purpose")
        client.seen.append((subject, reply, body, headers))

    parser = QuickParser(client, {_OURS: sink})  # type: ignore[arg-type]  # a stand-in for nats-py's client
    await parser.parse(_message(_OURS, "", b"bad", None) + _message(_OURS, "", b"good", None))
    assert [body for _, _, body, _ in client.seen] == [b"good"]
