"""Frames between a model's process and its parent."""

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator

import pytest

from antiphon.runtime.errors import ModelUnavailable
from antiphon.runtime.models.frames import Alive, Answer, Ask, Cancel, End, Frame, Frames, Load, Loaded

FRAMES: list[Frame] = [
    Load("m", b"{}", "/home"),
    Ask(1, "generate", b"x" * 300_000),
    Cancel(1),
    Loaded(b"{}"),
    Answer(1, b""),
    End(1),
    End(2, b"{}"),
    Alive(),
]


@pytest.fixture
async def ends() -> AsyncGenerator[tuple[Frames, Frames, asyncio.StreamWriter], None]:
    """Two ends of a socket, and the second one's writer for what is no frame."""
    ours, theirs = socket.socketpair()
    first = await asyncio.open_connection(sock=ours)
    second = await asyncio.open_connection(sock=theirs)
    yield Frames(*first), Frames(*second), second[1]
    for _, writer in (first, second):
        writer.close()


async def test_frames_arrive_as_they_were_sent(ends: tuple[Frames, Frames, asyncio.StreamWriter]) -> None:
    """In order, whatever their size; the end of the other side is None."""
    near, far, _ = ends

    async def say() -> None:
        for frame in FRAMES:
            await far.send(frame)
        far.close()

    saying = asyncio.create_task(say())
    assert [await near.receive() for _ in FRAMES] == FRAMES
    assert await near.receive() is None
    await saying


@pytest.mark.parametrize("raw", [b"\x03\x00\x00\x00abc", struct.pack("<I", 2**31) + b"x", b"\x01\x00\x00\x00\xc1"])
async def test_what_is_no_frame_is_refused(ends: tuple[Frames, Frames, asyncio.StreamWriter], raw: bytes) -> None:
    """Other bytes, or a length that nobody could mean."""
    near, _, writer = ends
    writer.write(raw)
    with pytest.raises(ModelUnavailable, match="frame"):
        await near.receive()


async def test_half_a_frame_is_the_end(ends: tuple[Frames, Frames, asyncio.StreamWriter]) -> None:
    """A process that dies while it writes has said nothing with it."""
    near, far, writer = ends
    writer.write(b"\x10\x00\x00\x00abc")
    far.close()
    assert await near.receive() is None
