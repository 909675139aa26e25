"""A model in a process of its own, so that its crash takes down neither this one nor anybody's other requests."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

import structlog
from pydantic import TypeAdapter

from antiphon.runtime.clock import Clock, SystemClock
from antiphon.runtime.delivery.payload import decode, encode
from antiphon.runtime.errors import AntiphonError, DeadlineExceeded, ModelUnavailable
from antiphon.runtime.models.child import Child
from antiphon.runtime.models.frames import Load, Method
from antiphon.runtime.models.restarts import Intensity, Restarts
from antiphon.runtime.models.setting import LocalSetting
from antiphon.runtime.models.wait import Waits
from antiphon.schemas.inference import (
    Capabilities,
    Chunk,
    Embeddings,
    EmbedRequest,
    Finish,
    FinishReason,
    GenerateRequest,
    ModelMetrics,
    Timing,
    Usage,
)

_GRACE_S: Final = 1.0  # after a deadline, for the child's own Finish
_METRICS_S: Final = 5.0
_SPARE_CHUNKS: Final = 64  # of a reply, beyond one a token
_CHUNK: TypeAdapter[Chunk] = TypeAdapter(Chunk)

log = structlog.get_logger()


class ProcessModel:
    """A local model behind the ModelInstance seam, in a child process that is started at the first request.

    When the child ends, its requests fail with ModelUnavailable, and it is started again at once; after several such
    failures later and later, and then not for a while (see ``restarts``), in which requests are refused at once with
    ``retry_after_s``. A checkpoint that cannot be loaded is reported as it would be in this process, and tried again
    at the next request. The child ends with this process, however that ends.
    """

    def __init__(
        self,
        name: str,
        setting: LocalSetting,
        home: Path,
        *,
        intensity: Intensity | None = None,
        clock: Clock | None = None,
    ) -> None:
        """``home``: the folder with models and calibrations. Nothing is started yet."""
        self.name = name
        self._load = Load(name, setting.model_dump_json().encode(), str(home))
        self._clock = clock or SystemClock()
        self._restarts = Restarts(intensity or Intensity())
        self._waits = Waits(f"model {name}", self._clock)
        self._child: Child | None = None  # loaded, and not known to have ended
        self._ready: asyncio.Future[Child] | None = None  # what requests wait for while ``_keeper`` runs
        self._keeper: asyncio.Task[None] | None = None

    @property
    def active(self) -> int:
        """Requests that the child still holds anything for."""
        return len(self._child.calls) if self._child is not None else 0

    @property
    def pid(self) -> int | None:
        """The child's process id while it can be asked."""
        return self._child.process.pid if self._child is not None else None

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """See ModelInstance."""
        began_s = self._clock.monotonic_s()
        left_s = self._waits.left_s(request.deadline_unix_ms)
        said = 0
        try:
            async with self._waits.at_most(left_s):
                child = await self._loaded()
                started_s = self._clock.monotonic_s() - began_s
                call = await child.ask("generate", encode(request), request.sampling.max_tokens + _SPARE_CHUNKS)
            try:
                while True:
                    left_s = self._waits.left_s(request.deadline_unix_ms)
                    async with self._waits.at_most(None if left_s is None else left_s + _GRACE_S):
                        body = await call.next()
                    chunk = _CHUNK.validate_json(body)
                    if isinstance(chunk, Finish):
                        yield _waited(chunk, started_s)
                        return
                    said += 1
                    yield chunk
            finally:
                child.leave(call)
        except TimeoutError:
            waited_s = self._clock.monotonic_s() - began_s
            timing = Timing() if said else Timing(queue_s=waited_s)
            usage = Usage(output_tokens=said)
            yield Finish(reason=FinishReason.CANCELLED, usage=usage, timing=timing, model=self.name)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """See ModelInstance."""
        try:
            async with self._waits.at_most(self._waits.left_s(request.deadline_unix_ms)):
                return decode(Embeddings, await self._answer("embed", encode(request)))
        except TimeoutError:
            raise DeadlineExceeded(f"model {self.name} did not embed before the deadline; allow more time") from None

    async def capabilities(self) -> Capabilities:
        """See ModelInstance. Starts the child and loads the checkpoint."""
        async with self._waits.at_most(None):
            return decode(Capabilities, (await self._loaded()).capabilities)

    async def metrics(self) -> ModelMetrics:
        """See ModelInstance. Starts nothing."""
        found = ModelMetrics(model=self.name)
        if self._child is not None:
            try:
                async with self._waits.at_most(_METRICS_S):
                    found = decode(ModelMetrics, await self._answer("metrics", b""))
            except TimeoutError:
                raise ModelUnavailable(f"the process of model {self.name} said nothing for {_METRICS_S:g} s") from None
        return found.model_copy(update={"restarts": self._restarts.total})

    async def close(self) -> None:
        """See ModelInstance."""
        self._waits.close()
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)

    async def _answer(self, method: Method, body: bytes) -> bytes:
        """The one answer to a call that has one."""
        child = await self._loaded()
        call = await child.ask(method, body, 1)
        try:
            return await call.next()
        finally:
            child.leave(call)

    async def _loaded(self) -> Child:
        """The child, once it can be asked.

        Raises:
            ModelError: it cannot be loaded, or has failed too often of late.
        """
        self._waits.check()
        if self._keeper is None or self._keeper.done():
            self._refuse_at_rest()
            self._ready = asyncio.get_running_loop().create_future()
            self._keeper = asyncio.create_task(self._keep(self._ready))
        assert self._ready is not None  # made together with the keeper
        return await asyncio.shield(self._ready)

    def _refuse_at_rest(self) -> None:
        rest_s = self._restarts.rest_s(self._clock.monotonic_s())
        if rest_s:
            raise ModelUnavailable(
                f"the process of model {self.name} has ended {self._restarts.total} times, too often of late (its "
                f"reasons are in the log); it is started again for a request in {rest_s:.0f} s",
                retry_after_s=round(rest_s, 1),
            )

    async def _keep(self, ready: asyncio.Future[Child]) -> None:
        """Have a child running until one cannot be loaded, or too many have failed: those who wait are told."""
        try:
            while True:
                await asyncio.sleep(self._restarts.wait_s(self._clock.monotonic_s()))
                child = await Child.start(self.name)
                try:
                    if await child.load(self._load):
                        self._child = child
                        ready.set_result(child)
                        log.info("model_process_ready", model=self.name, pid=child.process.pid)
                        await child.pump()
                        ready = self._ready = asyncio.get_running_loop().create_future()
                finally:
                    self._child = None
                    how = await child.stop()
                self._restarts.failed(self._clock.monotonic_s())
                log.error("model_process_ended", model=self.name, how=how, failures=self._restarts.total)
                child.fail(f"the process of model {self.name} {how}; it is started again, ask again")
                self._refuse_at_rest()
        except Exception as error:
            if not isinstance(error, AntiphonError):
                log.error("model_process_not_kept", model=self.name, exc_info=error)
                error = ModelUnavailable(f"the process of model {self.name}: {type(error).__name__}: {error}")
            ready.set_exception(error)
            ready.exception()  # nobody may be waiting, and that is no mistake


def _waited(finish: Finish, waited_s: float) -> Finish:
    """The child's Finish, with the wait for the child."""
    queue_s = waited_s + (finish.timing.queue_s or 0.0)
    return finish.model_copy(update={"timing": finish.timing.model_copy(update={"queue_s": queue_s})})
