"""One process of a model, as its parent sees it, and the calls that it has."""

import asyncio
import contextlib
import itertools
import signal
import socket
import sys
from typing import Final

from antiphon.runtime.errors import AntiphonError, ModelBusy, ModelUnavailable, from_info
from antiphon.runtime.models.frames import LOADING, Answer, Ask, Cancel, End, Frame, Frames, Load, Loaded, Method
from antiphon.schemas.task import ErrorInfo

_SILENCE_S: Final = 30.0  # a child that says nothing for so long hangs: 15 signs of life are missing
_END_S: Final = 5.0  # for a child to end whose socket was closed
_MOST_CALLS: Final = 2048
_STANDARD_ERROR: Final = 2  # where what libraries print in the child goes, as ours does


class Call:
    """What a call was answered so far; at most ``limit`` answers are kept for its reader."""

    def __init__(self, number: int, limit: int) -> None:
        self.number = number
        self._limit = limit
        self._items: asyncio.Queue[bytes | AntiphonError] = asyncio.Queue(limit + 1)

    async def next(self) -> bytes:
        """The next answer. Raises what ended the call."""
        item = await self._items.get()
        if isinstance(item, AntiphonError):
            raise item
        return item

    def put(self, body: bytes) -> None:
        """Keep an answer. Raises ModelUnavailable where there are more than can be: the child is out of order."""
        if self._items.qsize() >= self._limit:
            raise ModelUnavailable(f"more than {self._limit} answers to one call came")
        self._items.put_nowait(body)

    def end(self, error: AntiphonError) -> None:
        """No more answers: whoever asks for one gets ``error``. Called once."""
        self._items.put_nowait(error)


class Child:
    """One process and the calls that it has."""

    def __init__(self, process: asyncio.subprocess.Process, frames: Frames) -> None:
        self.process = process
        self.calls: dict[int, Call] = {}
        self.capabilities = b""
        self._frames = frames
        self._numbers = itertools.count(LOADING + 1)
        self._verdict = ""  # why it was not let go on

    @classmethod
    async def start(cls, name: str) -> "Child":
        """A process that waits to be told what to load. Raises ModelUnavailable."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-P", "-X", "faulthandler", "-m", "antiphon.runtime.models.worker", str(theirs.fileno())),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=_STANDARD_ERROR,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,  # Ctrl-C is for the parent, which then ends the child in good order
                )
            return cls(process, Frames(*await asyncio.open_connection(sock=ours)))
        except OSError as error:
            ours.close()
            raise ModelUnavailable(f"no process for model {name} can be started: {error}") from error
        except BaseException:
            ours.close()  # a child that has begun ends with it
            raise

    async def load(self, load: Load) -> bool:
        """Have it load its model; False if it ended meanwhile. Raises what it says of a model that it cannot load."""
        self._frames.post(load)
        while (frame := await self._receive()) is not None:
            if isinstance(frame, Loaded):
                self.capabilities = frame.capabilities
                return True
            if isinstance(frame, End) and frame.error is not None:
                raise from_info(ErrorInfo.model_validate_json(frame.error))
        return False

    async def ask(self, method: Method, body: bytes, limit: int) -> Call:
        """Begin a call that has ``limit`` answers at most. Raises ModelBusy."""
        if len(self.calls) >= _MOST_CALLS:
            raise ModelBusy(f"the model has {_MOST_CALLS} requests, the most it takes; ask again", retry_after_s=1)
        call = Call(next(self._numbers), limit)
        self.calls[call.number] = call
        try:
            with contextlib.suppress(ConnectionError):  # it has just ended: the call is failed with the others
                await self._frames.send(Ask(call.number, method, body))
        except BaseException:  # whoever asks has gone while a long prompt was on its way
            self.leave(call)
            raise
        return call

    def leave(self, call: Call) -> None:
        """Nobody reads the call any more."""
        if call.number in self.calls:
            self._frames.post(Cancel(call.number))

    async def pump(self) -> None:
        """Hand out what it says, until it ends or is out of order."""
        while (frame := await self._receive()) is not None:
            if isinstance(frame, Answer) and frame.call in self.calls:
                try:
                    self.calls[frame.call].put(frame.body)
                except ModelUnavailable as error:
                    self._condemn(error.message)
            elif isinstance(frame, End) and frame.call in self.calls:
                ended = from_info(ErrorInfo.model_validate_json(frame.error)) if frame.error is not None else None
                self.calls.pop(frame.call).end(
                    ended or ModelUnavailable("the reply ended without saying how; ask again")
                )

    async def stop(self) -> str:
        """Let it end, or kill it; returns how it ended."""
        self._frames.close()
        try:
            async with asyncio.timeout(_END_S):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
        return self._verdict or ended_how(await self.process.wait())

    def fail(self, reason: str) -> None:
        """End all its calls."""
        for call in self.calls.values():
            call.end(ModelUnavailable(reason))
        self.calls.clear()

    async def _receive(self) -> Frame | None:
        try:
            return await self._frames.receive(_SILENCE_S)
        except TimeoutError:
            self._condemn(f"said nothing for {_SILENCE_S:g} s and was killed")
        except ModelUnavailable as error:
            self._condemn(error.message)
        return None

    def _condemn(self, verdict: str) -> None:
        self._verdict = self._verdict or verdict
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()


def ended_how(status: int) -> str:
    """A process's exit status in words."""
    if status >= 0:
        return f"ended with status {status}"
    hints = {signal.SIGKILL: "out of memory?", signal.SIGTERM: "somebody stopped it"}
    number = -status
    name = signal.Signals(number).name if number in {*signal.Signals} else "unknown"
    hint = hints.get(signal.Signals(number), "a fault in native code: see its lines above") if name != "unknown" else ""
    return f"was killed by signal {number} ({name}: {hint})"
