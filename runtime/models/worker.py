"""The process of one model: hosts the instance that its parent names, and ends when the parent does."""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import structlog
from pydantic import TypeAdapter

from antiphon.runtime.clock import SystemClock
from antiphon.runtime.delivery.payload import decode, encode
from antiphon.runtime.errors import AntiphonError, ModelUnavailable, to_info
from antiphon.runtime.models.base import ModelInstance
from antiphon.runtime.models.frames import LOADING, SIGN_S, Alive, Answer, Ask, Cancel, End, Frames, Load, Loaded
from antiphon.runtime.models.local_instance import local_instance
from antiphon.runtime.models.machine import available_memory
from antiphon.runtime.models.memory import MemoryBook
from antiphon.runtime.models.setting import LocalSetting
from antiphon.runtime.telemetry.logs import configure_logging
from antiphon.schemas.inference import Chunk, EmbedRequest, GenerateRequest

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_HANGS_S = 300.0  # the longest prompt chunk of 8 billion weights on one core takes half of that, and nothing is slower
_CHUNK: TypeAdapter[Chunk] = TypeAdapter(Chunk)

log = structlog.get_logger()


class Worker:
    """Answers a parent on ``frames`` until it goes."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._instance: ModelInstance | None = None
        self._calls: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Load what the parent names, then answer; returns when the parent has gone. The process is to end then.

        Raises:
            ExceptionGroup: with the ModelUnavailable that the model hangs. What computes it cannot be stopped, so the
                process is to end then too, and its parent starts another.
        """
        async with asyncio.TaskGroup() as group:
            signs = group.create_task(self._signs())
            while (frame := await self._frames.receive()) is not None:
                match frame:
                    case Load():
                        self._start(LOADING, self._load(frame))
                    case Ask():
                        self._start(frame.call, self._answer(frame))
                    case Cancel() if frame.call in self._calls:
                        self._calls[frame.call].cancel()
            signs.cancel()

    def _start(self, call: int, bodies: AsyncGenerator[Loaded | Answer, None]) -> None:
        task = self._calls[call] = asyncio.create_task(self._send(bodies))
        task.add_done_callback(lambda _: self._ended(call))

    async def _send(self, bodies: AsyncGenerator[Loaded | Answer, None]) -> None:
        async with aclosing(bodies):
            async for body in bodies:
                await self._frames.send(body)

    def _ended(self, call: int) -> None:
        """Tell the parent, whatever happened: also of a call that was cancelled before it began."""
        task = self._calls.pop(call)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, AntiphonError):
            log.error("model_call_failed", exc_info=error)
            error = ModelUnavailable(f"{type(error).__name__}: {error}")
        self._frames.post(End(call, to_info(error).model_dump_json().encode() if error is not None else None))

    async def _load(self, load: Load) -> AsyncGenerator[Loaded, None]:
        setting = LocalSetting.model_validate_json(load.setting)
        book = MemoryBook(available_memory())
        instance = await asyncio.to_thread(local_instance, load.name, setting, Path(load.home), book, SystemClock())
        capabilities = await instance.capabilities()
        self._instance = instance
        yield Loaded(encode(capabilities))

    async def _answer(self, ask: Ask) -> AsyncGenerator[Answer, None]:
        instance = self._instance
        if instance is None:
            raise ModelUnavailable("the model is not loaded yet")
        if ask.method == "embed":
            yield Answer(ask.call, encode(await instance.embed(decode(EmbedRequest, ask.body))))
        elif ask.method == "metrics":
            yield Answer(ask.call, encode(await instance.metrics()))
        else:
            async with aclosing(instance.generate(decode(GenerateRequest, ask.body))) as chunks:
                async for chunk in chunks:
                    yield Answer(ask.call, _CHUNK.dump_json(chunk))

    async def _signs(self) -> None:
        while True:
            found = await self._instance.metrics() if self._instance is not None else None
            step_s = found.engine.step_s if found is not None and found.engine is not None else 0.0
            if step_s > _HANGS_S:
                raise ModelUnavailable(f"the engine has been at one step for {step_s:.0f} s: it hangs")
            self._frames.post(Alive())
            await asyncio.sleep(SIGN_S)


async def _serve(descriptor: int) -> None:
    """Ends the process by itself: native threads, for which nobody waits any more, must not hold it."""
    try:
        reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=descriptor))
        await Worker(Frames(reader, writer)).run()
    except Exception as error:
        log.error("model_process_failed", exc_info=error)
        os._exit(1)
    os._exit(0)


def main() -> None:
    """``python -m antiphon.runtime.models.worker DESCRIPTOR``: the socket that was inherited from the parent."""
    with contextlib.suppress(AttributeError, OSError):  # only Linux has it; elsewhere the socket's end must do
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    configure_logging("info", clock=SystemClock())
    asyncio.run(_serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
