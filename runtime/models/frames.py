"""What a model's process and its parent say to one another: msgpack frames, each after its length, on a socket.

The parent says Load once, then Ask and Cancel. The child says Loaded, or End for the call LOADING with the reason; and
for each Ask any number of Answers and one End. Alive comes every SIGN_S from a child that is able to say anything.
"""

import asyncio
import struct
from typing import Final, Literal

import msgspec

from antiphon.runtime.errors import ModelUnavailable

SIGN_S: Final = 2.0
_STALL_S: Final = 1.0
LOADING: Final = 0  # the number of no call: those count from 1
_LENGTH: Final = struct.Struct("<I")
_MOST_BYTES: Final = 1 << 30  # of one frame: a million vectors of 384 numbers as JSON


Method = Literal["generate", "embed", "metrics"]


class Load(msgspec.Struct, tag=True, frozen=True):
    """Which model: its name, the JSON of its LocalSetting, and the home folder."""

    name: str
    setting: bytes
    home: str


class Ask(msgspec.Struct, tag=True, frozen=True):
    """A call: the JSON of a GenerateRequest or EmbedRequest, or nothing for metrics."""

    call: int
    method: Method
    body: bytes


class Cancel(msgspec.Struct, tag=True, frozen=True):
    """Nobody waits for the call any more."""

    call: int


class Loaded(msgspec.Struct, tag=True, frozen=True):
    """The model is ready; the JSON of its Capabilities."""

    capabilities: bytes


class Answer(msgspec.Struct, tag=True, frozen=True):
    """The JSON of the call's next chunk, or of its whole answer."""

    call: int
    body: bytes


class End(msgspec.Struct, tag=True, frozen=True):
    """The call is over and holds nothing any more; the JSON of an ErrorInfo if it failed."""

    call: int
    error: bytes | None = None


class Alive(msgspec.Struct, tag=True, frozen=True):
    """The child's loop turns."""


Frame = Load | Ask | Cancel | Loaded | Answer | End | Alive


class Frames:
    """One end of the socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Frame).decode

    def post(self, frame: Frame) -> None:
        """Send without waiting: for what is small and rare. One to an end that has gone is lost."""
        raw = self._encode(frame)
        self._writer.write(_LENGTH.pack(len(raw)) + raw)

    async def send(self, frame: Frame) -> None:
        """Send, and wait while the other end is behind.

        Raises:
            ConnectionError: the other end has gone.
        """
        self.post(frame)
        await self._writer.drain()

    async def receive(self, silence_s: float | None = None) -> Frame | None:
        """The next frame; None when the other end has gone.

        Raises:
            ModelUnavailable: what came is no frame.
            TimeoutError: nothing came for ``silence_s``.
        """
        try:
            head = await self._read(_LENGTH.size, silence_s)
            (length,) = _LENGTH.unpack(head)
            if length > _MOST_BYTES:
                raise ModelUnavailable(f"a frame claims {length} bytes, expected {_MOST_BYTES} at most")
            frame: Frame = self._decode(await self._read(length, silence_s))
            return frame
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        except msgspec.MsgspecError as error:
            raise ModelUnavailable(f"what came is no frame of ours: {error}") from None

    async def _read(self, size: int, silence_s: float | None) -> bytes:
        try:
            async with asyncio.timeout(silence_s):
                return await self._reader.readexactly(size)
        except TimeoutError:  # or it was this process that stood still: then it is there, or comes at once
            async with asyncio.timeout(_STALL_S):
                return await self._reader.readexactly(size)

    def close(self) -> None:
        """Hang up. Idempotent."""
        self._writer.close()
