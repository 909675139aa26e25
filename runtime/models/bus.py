"""A model instance that another process serves on the bus: the client half (see ``exchange``)."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from copy import copy

import structlog

from antiphon.runtime.bus.base import Bus, Delivery
from antiphon.runtime.clock import Clock, SystemClock
from antiphon.runtime.delivery.payload import M, decode, encode
from antiphon.runtime.errors import (
    BusError,
    DeadlineExceeded,
    InvalidRequest,
    MessageError,
    MessageTooLarge,
    ModelBusy,
    ModelUnavailable,
    NoResponders,
    RequestTimeout,
    from_info,
)
from antiphon.runtime.models.exchange import Pace, control_of, model_error, request_headers
from antiphon.runtime.models.inspection import inspect
from antiphon.runtime.models.wait import Waits
from antiphon.schemas import subjects
from antiphon.schemas.envelope import ERROR
from antiphon.schemas.identity import new_id
from antiphon.schemas.inference import (
    Accepted,
    Capabilities,
    Chunk,
    ChunkBatch,
    DescribeModel,
    Embeddings,
    EmbedRequest,
    Finish,
    FinishReason,
    GenerateRequest,
    InspectModel,
    ModelMetrics,
    ReaderSignal,
    Usage,
)
from antiphon.schemas.task import ErrorInfo


class BusModel:
    """Asks any of the servers of ``model``; a reply comes from one of them from beginning to end."""

    def __init__(
        self, bus: Bus, tenant: str, model: str, *, clock: Clock | None = None, pace: Pace | None = None
    ) -> None:
        self._bus = bus
        self._tenant = tenant
        self._model = model
        self._subjects: tuple[str, ...] = (subjects.model(tenant, model),)
        self._clock = clock if clock is not None else SystemClock()
        self._pace = pace if pace is not None else Pace()
        self._waits = Waits(f"model {model!r} on the bus", self._clock)

    def at(self, *servers: str) -> "BusModel":
        """This model as the first of these servers gives it that is there and not full, else as any does.

        Closed with this instance, and not by itself.
        """
        model = copy(self)
        model._subjects = (*(subjects.replica(self._tenant, self._model, each) for each in servers), *self._subjects)
        return model

    async def servers(self, *, wait_s: float) -> tuple[str, ...]:
        """The names of the servers that answer within ``wait_s``. Raises BusError."""
        found = await inspect(self._bus, self._tenant, self._model, wait_s=wait_s)
        return tuple(metrics.server for metrics in found)

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """See ModelInstance. ModelUnavailable also when the server falls silent or chunks are lost."""
        if self._waits.left_s(request.deadline_unix_ms) == 0:
            yield _cancelled(self._model, 0)
            return
        id = new_id()
        reply = subjects.stream(self._tenant, id)
        # every chunk but the last is at least one token, so only a server gone wrong can fill this
        inbox = _Inbox(self._clock, limit=request.sampling.max_tokens + 64)
        with self._bus_errors():
            subscription = await self._bus.subscribe(reply, inbox.receive)
        signs: asyncio.Task[None] | None = None
        number = 0
        ended = False
        try:
            try:
                await self._ask(Accepted, request, self._pace.accept_s, reply)
            except ModelUnavailable:
                if self._waits.left_s(request.deadline_unix_ms) != 0:
                    raise
                yield _cancelled(self._model, 0)
                return
            inbox.alive()
            signs = asyncio.create_task(self._signs(control_of(self._tenant, id)))
            while not ended:
                batch = await self._next(inbox, request.deadline_unix_ms)
                if batch is None:
                    yield _cancelled(self._model, number)
                    return
                ended = batch.error is not None or isinstance(batch.chunks[-1], Finish)
                if batch.error is not None:
                    raise model_error(from_info(batch.error))
                if batch.n != number:
                    raise ModelUnavailable(
                        f"chunks {number} to {batch.n - 1} of model {self._model!r} were lost on the way; ask again"
                    )
                for chunk in batch.chunks:
                    number += 1
                    yield chunk
        finally:
            if signs is not None:
                signs.cancel()
            await subscription.stop()
            if not ended:
                await self._signal(control_of(self._tenant, id), ReaderSignal(gone=True))

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """See ModelInstance."""
        try:
            return await self._ask(Embeddings, request, self._pace.answer_s)
        except ModelUnavailable as error:
            if self._waits.left_s(request.deadline_unix_ms) == 0:
                raise DeadlineExceeded(f"{error.message}; the deadline has passed, allow more time") from error
            raise

    async def capabilities(self) -> Capabilities:
        """See ModelInstance."""
        return await self._ask(Capabilities, DescribeModel(model=self._model), self._pace.answer_s)

    async def metrics(self) -> ModelMetrics:
        """See ModelInstance. Those of whichever server answers first."""
        return await self._ask(ModelMetrics, InspectModel(model=self._model), self._pace.accept_s)

    async def close(self) -> None:
        """See ModelInstance. The bus stays open: it is its owner's."""
        self._waits.close()

    async def _ask(
        self,
        answer: type[M],
        request: GenerateRequest | EmbedRequest | DescribeModel | InspectModel,
        timeout_s: float,
        reply: str = "",
    ) -> M:
        """The first answer of a server.

        Raises:
            ModelError: what the server says, or why there is none.
            DeadlineExceeded: what the server says.
        """
        deadline = request.deadline_unix_ms if isinstance(request, GenerateRequest | EmbedRequest) else None
        left_s = self._waits.left_s(deadline)
        body, headers = encode(request), request_headers(request, reply)
        limit_s = timeout_s if left_s is None else min(timeout_s, left_s)
        with self._bus_errors():
            async with self._waits.at_most(None):
                delivery = await self._first(body, headers, limit_s)
        if ERROR in delivery.headers:
            error = from_info(self._reason(delivery))
            raise error if isinstance(error, DeadlineExceeded) else model_error(error)
        try:
            return decode(answer, delivery.body)
        except MessageError as error:
            raise ModelUnavailable(f"a server of model {self._model!r} answered something else: {error}") from None

    async def _first(self, body: bytes, headers: dict[str, str], timeout_s: float) -> Delivery:
        """What the first server answers that is there and not full. Raises BusError.

        Not where it is merely late: it may have begun, and two servers would write one reply.
        """
        *chosen, anybody = self._subjects
        for subject in chosen:
            try:
                delivery = await self._bus.request(subject, body, headers, timeout_s=timeout_s)
            except NoResponders:
                continue
            if delivery.headers.get(ERROR) != ModelBusy.__name__:
                return delivery
        return await self._bus.request(anybody, body, headers, timeout_s=timeout_s)

    def _reason(self, refused: Delivery) -> ErrorInfo:
        try:
            return ErrorInfo.model_validate_json(refused.body)
        except ValueError:
            raise ModelUnavailable(
                f"a server of model {self._model!r} refused, and its reason {refused.body[:80]!r} cannot be read"
            ) from None

    async def _next(self, inbox: "_Inbox", deadline_unix_ms: int | None) -> ChunkBatch | None:
        """The next batch; None when the deadline passed and the server's own Finish did not come.

        Raises:
            ModelUnavailable: the server has been silent for too long.
        """
        suspected = False
        while True:
            bounds = [self._pace.stall_s if suspected else max(0.0, self._pace.silence_s - inbox.silent_s())]
            left_s = self._waits.left_s(deadline_unix_ms)
            if left_s is not None:
                bounds.append(left_s + self._pace.grace_s)
            try:
                async with self._waits.at_most(min(bounds)):
                    return await inbox.batches.get()
            except TimeoutError:
                if self._waits.left_s(deadline_unix_ms) == 0:
                    return None
                silent_s = inbox.silent_s()
                if suspected and silent_s >= self._pace.silence_s:
                    raise ModelUnavailable(
                        f"the server of model {self._model!r} has been silent for {silent_s:.1f} s: "
                        "it is taken for dead; ask again"
                    ) from None
                suspected = silent_s >= self._pace.silence_s

    async def _signs(self, control: str) -> None:
        while True:
            await asyncio.sleep(self._pace.sign_s)
            await self._signal(control, ReaderSignal())

    async def _signal(self, control: str, signal: ReaderSignal) -> None:
        """Best effort: a server that misses it notices the silence."""
        try:
            await self._bus.publish(control, encode(signal))
        except BusError as error:
            structlog.get_logger().debug("model_signal_failed", model=self._model, error=error.message)

    @contextmanager
    def _bus_errors(self) -> Generator[None, None, None]:
        """What goes wrong on the bus, as what it means for a model."""
        try:
            yield
        except NoResponders:
            raise ModelUnavailable(
                f"nobody serves model {self._model!r} on the bus: start a node that has it", model=self._model
            ) from None
        except RequestTimeout as error:
            raise ModelUnavailable(
                f"no server of model {self._model!r} answered in time: {error.message}", model=self._model
            ) from None
        except MessageTooLarge as error:
            raise InvalidRequest(f"{error.message}; shorten the conversation", **error.details) from None
        except BusError as error:
            raise ModelUnavailable(
                f"the bus to model {self._model!r} failed: {error.message}", model=self._model
            ) from None


class _Inbox:
    """Batches as they arrive, and when the server was last heard."""

    def __init__(self, clock: Clock, *, limit: int) -> None:
        self.batches: asyncio.Queue[ChunkBatch] = asyncio.Queue(limit)
        self._clock = clock
        self._heard_s = clock.monotonic_s()

    def alive(self) -> None:
        self._heard_s = self._clock.monotonic_s()

    def silent_s(self) -> float:
        return self._clock.monotonic_s() - self._heard_s

    async def receive(self, delivery: Delivery) -> None:
        """Take a batch; a full inbox or a batch that cannot be read raises at the bus, which logs it."""
        self.alive()
        batch = decode(ChunkBatch, delivery.body)
        if batch.chunks or batch.error is not None:
            self.batches.put_nowait(batch)


def _cancelled(model: str, tokens: int) -> Finish:
    """The Finish of a reply whose deadline passed before the server's own came; tokens as far as they were seen."""
    return Finish(reason=FinishReason.CANCELLED, usage=Usage(output_tokens=tokens), model=model)
