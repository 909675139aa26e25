"""A model in this process: the engine on a thread of its own."""

import asyncio
import bisect
import itertools
import threading
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon.runtime.clock import Clock, SystemClock
from antiphon.runtime.errors import AntiphonError, InvalidRequest, MissingExtra, ModelUnavailable
from antiphon.schemas.identity import new_id
from antiphon.schemas.inference import (
    Capabilities,
    Chunk,
    Embeddings,
    EmbedRequest,
    Finish,
    FinishReason,
    GenerateRequest,
    Pool,
    TextChunk,
    Timing,
    Usage,
)

if TYPE_CHECKING:
    from antiphon.runtime.engine.engine import Engine

_CLOSE_TIMEOUT_S = 30.0  # the worker notices within one token or one chunk of a prompt


@dataclass(eq=False, kw_only=True)
class _Job:
    """One request on its way through the worker.

    ``items`` needs no bound of its own: a request puts at most ``max_tokens`` texts and one end into it.
    """

    request: GenerateRequest
    loop: asyncio.AbstractEventLoop
    entered_s: float
    order: tuple[int, int]  # lowest first: higher priority, then earlier arrival
    items: asyncio.Queue[Chunk | AntiphonError] = field(default_factory=asyncio.Queue)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def put(self, item: Chunk | AntiphonError) -> None:
        """Hand ``item`` to the reader, from any thread; a reader whose loop is gone wants no more."""
        try:
            self.loop.call_soon_threadsafe(self.items.put_nowait, item)
        except RuntimeError:  # the loop is closed
            self.cancelled.set()


class LocalModel:
    """A checkpoint behind the ModelInstance seam.

    One worker thread runs one request at a time, higher priority first, then in order of arrival; at most
    ``max_waiting`` wait. The checkpoint is loaded at the first request or ``capabilities``; a failed load is reported
    to whoever caused it and tried again at the next, since a pull may have mended it.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        dtype: str = "auto",
        threads: int = 1,
        max_waiting: int = 64,
        clock: Clock | None = None,
    ) -> None:
        """``dtype`` and ``threads`` as Engine.load takes them; nothing is read yet."""
        self.name = name
        self._path = path
        self._dtype = dtype
        self._threads = threads
        self._max_waiting = max_waiting
        self._clock = clock or SystemClock()
        self._engine: Engine | None = None
        self._loading = threading.Lock()
        self._changed = threading.Condition()
        self._waiting: list[_Job] = []
        self._running: _Job | None = None
        self._worker: threading.Thread | None = None
        self._arrivals = itertools.count()
        self._pool = Pool(id=f"model:{name}@{new_id()[:8]}", capacity=1, active=1)  # one worker, one request
        self._closed = False

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """Chunks of the reply.

        Raises:
            ContextTooLong: the prompt does not fit, with both numbers.
            InvalidRequest: tools, tool parts, or a schema llguidance does not support.
            MissingExtra: the engine's packages are not installed.
            ModelFileError: the checkpoint cannot be loaded.
            ModelUnavailable: too many requests wait, or the model is closed; retryable.
        """
        if request.tools:
            raise InvalidRequest(f"model {self.name}: found {len(request.tools)} tools, this instance takes none")
        job = self._enter(request)
        try:
            while True:
                item = await self._next(job)
                if isinstance(item, AntiphonError):
                    raise item
                yield item
                if isinstance(item, Finish):
                    return
        finally:
            job.cancelled.set()
            self._withdraw(job)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Not something a language model of this engine does.

        Raises:
            InvalidRequest: always.
        """
        raise InvalidRequest(f"model {self.name}: does not embed; use a model made for embeddings")

    async def capabilities(self) -> Capabilities:
        """What the instance can do; loads the checkpoint.

        Raises:
            MissingExtra: the engine's packages are not installed.
            ModelFileError: the checkpoint cannot be loaded.
        """
        engine = await asyncio.to_thread(self._load)
        return Capabilities(
            model=self.name,
            context_tokens=engine.config.context_tokens,
            structured_output=True,
            tools=False,
            embeddings=False,
            deterministic=True,
        )

    async def close(self) -> None:
        """Free the model. Requests under way fail with ModelUnavailable. Idempotent."""
        with self._changed:
            self._closed = True
            left, self._waiting = self._waiting, []
            if self._running is not None:
                self._running.cancelled.set()
            worker, self._worker = self._worker, None
            self._changed.notify_all()
        for job in left:
            job.put(self._gone())
        if worker is not None:
            await asyncio.to_thread(worker.join, _CLOSE_TIMEOUT_S)
        self._engine = None

    def _enter(self, request: GenerateRequest) -> _Job:
        with self._changed:
            if self._closed:
                raise self._gone()
            if len(self._waiting) >= self._max_waiting:
                raise ModelUnavailable(
                    f"model {self.name}: {len(self._waiting)} requests wait already, the most it takes; try again later"
                )
            job = _Job(
                request=request,
                loop=asyncio.get_running_loop(),
                entered_s=self._clock.monotonic_s(),
                order=(-request.priority, next(self._arrivals)),
            )
            bisect.insort(self._waiting, job, key=lambda waiting: waiting.order)
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name=f"model-{self.name}", daemon=True)
                self._worker.start()
            self._changed.notify_all()
        return job

    async def _next(self, job: _Job) -> Chunk | AntiphonError:
        """The job's next item. A deadline that passes while it waits is answered here; once it runs, by the engine."""
        deadline = job.request.deadline_unix_ms
        if deadline is not None:
            left_s = max(0.0, deadline / 1e3 - self._clock.unix_ns() / 1e9)
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    return await job.items.get()
            if self._withdraw(job):
                waited_s = self._clock.monotonic_s() - job.entered_s
                return Finish(
                    reason=FinishReason.CANCELLED, usage=Usage(), timing=Timing(queue_s=waited_s), model=self.name
                )
        return await job.items.get()

    def _withdraw(self, job: _Job) -> bool:
        """Take ``job`` out of the queue; False if it was not there any more."""
        with self._changed:
            if job not in self._waiting:
                return False
            self._waiting.remove(job)
            return True

    def _work(self) -> None:
        """The worker thread: until the model is closed, answer one job after another."""
        while self._wait_for_work():
            error: AntiphonError | None = None
            engine: Engine | None = None
            try:
                engine = self._load()
            except Exception as caught:
                error = self._as_error(caught)
            job = self._take()
            if job is None:  # withdrawn, or closed, while the checkpoint was loading
                continue
            if engine is None:
                job.put(error or self._gone())
            else:
                self._answer(engine, job)
            with self._changed:
                self._running = None

    def _wait_for_work(self) -> bool:
        """Block until a job waits (True) or the model is closed (False); ``close`` and ``_enter`` wake it."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            return not self._closed

    def _take(self) -> _Job | None:
        with self._changed:
            self._running = self._waiting.pop(0) if self._waiting else None
            return self._running

    def _answer(self, engine: "Engine", job: _Job) -> None:
        from antiphon.runtime.engine.request import Request

        queue_s = self._clock.monotonic_s() - job.entered_s
        output = job.request.output
        try:
            request = Request(
                prompt=engine.encode(job.request.conversation),
                sampling=job.request.sampling,
                json_schema=None if output is None else output.json_schema,
                deadline_unix_ms=job.request.deadline_unix_ms,
            )
            for event in engine.generate(request, job.cancelled):
                if isinstance(event, Finish):
                    timing = event.timing.model_copy(update={"queue_s": queue_s})
                    finish = event.model_copy(update={"timing": timing, "model": self.name, "pool": self._pool})
                    job.put(self._gone() if self._closed else finish)
                elif event.text:
                    job.put(TextChunk(text=event.text))
        except Exception as error:
            job.put(self._as_error(error))

    def _load(self) -> "Engine":
        with self._loading:
            if self._closed:
                raise self._gone()
            if self._engine is None:
                try:
                    from antiphon.runtime.engine.engine import Engine
                except ImportError as error:
                    raise MissingExtra(
                        f"model {self.name}: a local model needs {error.name}, which is not installed; "
                        "pip install 'antiphon[engine]'"
                    ) from error
                self._engine = Engine.load(self._path, dtype=self._dtype, threads=self._threads, clock=self._clock)
            return self._engine

    def _gone(self) -> ModelUnavailable:
        return ModelUnavailable(f"model {self.name} is closed")

    def _as_error(self, error: Exception) -> AntiphonError:
        """Errors that are not ours (memory, torch) are logged here and reach the caller as ModelUnavailable."""
        if isinstance(error, AntiphonError):
            return error
        import structlog

        structlog.get_logger().error("model_worker_failed", model=self.name, exc_info=error)
        failure = ModelUnavailable(f"model {self.name}: {type(error).__name__}: {error}")
        failure.__cause__ = error
        return failure
