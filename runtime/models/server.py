"""A model instance offered to other processes on the bus: the server half (see ``exchange``)."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog
from opentelemetry.trace import NoOpTracer, SpanKind, Tracer

from antiphon.runtime.bus.base import Bus, Delivery, Subscription
from antiphon.runtime.clock import Clock, SystemClock
from antiphon.runtime.delivery.payload import decode, encode
from antiphon.runtime.errors import (
    AntiphonError,
    BusError,
    ConfigurationError,
    DeadlineExceeded,
    InvalidMessage,
    InvalidRequest,
    ModelBusy,
    ModelUnavailable,
)
from antiphon.runtime.models.base import ModelInstance
from antiphon.runtime.models.exchange import Pace, context_of, control_of, inspection_of, model_error
from antiphon.runtime.models.reply_stream import ReplyStream
from antiphon.runtime.telemetry import attributes as names
from antiphon.schemas import subjects
from antiphon.schemas.envelope import ERROR, REPLY, Envelope, EnvelopeError
from antiphon.schemas.inference import (
    Accepted,
    DescribeModel,
    EmbedRequest,
    Finish,
    FinishReason,
    GenerateRequest,
    InspectModel,
    Timing,
    Usage,
)
from antiphon.schemas.message import Message

_TEMPLATE: Final = subjects.template(subjects.Kind.MODEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One request for a reply, as it arrived."""

    request: GenerateRequest
    envelope: Envelope
    arrived_ns: int
    stream: ReplyStream
    control: Subscription


class ModelServer:
    """Serves ``instance`` as ``model`` to everybody on the tenant's bus.

    A request's tenant is the one whose subject it came on, whatever it says itself; several tenants have a server each
    in front of one instance. ``concurrency`` requests are given to the instance at once and ``waiting`` more may wait;
    further ones are refused with ModelUnavailable. A reader that goes, or falls silent, has its generation stopped.
    The instance is not closed here: it is its owner's.
    """

    def __init__(
        self,
        bus: Bus,
        tenant: str,
        model: str,
        instance: ModelInstance,
        *,
        node: str,
        concurrency: int = 16,
        waiting: int = 64,
        tracer: Tracer | None = None,
        clock: Clock | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._bus = bus
        self._tenant = tenant
        self._model = model
        self._instance = instance
        self._node = node
        self._concurrency = concurrency
        self._limit = concurrency + waiting
        self._tracer = tracer if tracer is not None else NoOpTracer()
        self._clock = clock if clock is not None else SystemClock()
        self._pace = pace if pace is not None else Pace()
        self._slots = asyncio.Semaphore(concurrency)
        self._active = 0
        self._running: set[asyncio.Task[None]] = set()
        self._subscription: Subscription | None = None
        self._inspection: Subscription | None = None
        self._alone: Subscription | None = None
        self._log = structlog.get_logger().bind(model=model, node=node)

    @property
    def active(self) -> int:
        """Requests that the instance works on."""
        return self._active

    async def start(self) -> None:
        """Take requests from now on.

        Raises:
            ConfigurationError: it is already started.
            BusUnavailable: no server.
        """
        if self._subscription is not None:
            raise ConfigurationError(f"model {self._model!r} is already served here")
        self._subscription = await self._bus.subscribe(
            subjects.model(self._tenant, self._model), self._receive, queue=self._model
        )
        # For callers that choose a server by the beginning of the prompt.
        alone = subjects.replica(self._tenant, self._model, self._node)
        self._alone = await self._bus.subscribe(alone, self._receive)
        # By everybody, and at once: a server that is full is the one that somebody wants to know about.
        self._inspection = await self._bus.subscribe(inspection_of(self._tenant, self._model), self._handle)

    async def close(self) -> None:
        """Take no more; requests under way end with ModelUnavailable at their readers. Idempotent."""
        subscriptions = (self._subscription, self._alone, self._inspection)
        self._subscription = self._alone = self._inspection = None
        for subscription in subscriptions:
            if subscription is not None:
                await subscription.stop()
        await asyncio.sleep(0)  # what was just taken starts, so that its cancellation is answered
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _receive(self, delivery: Delivery) -> None:
        if not delivery.reply:
            self._log.warning("model_request_without_reply", subject=delivery.subject)
            return
        if len(self._running) >= self._limit:
            full = ModelBusy(
                f"model {self._model!r} on {self._node} has {self._limit} requests; ask again later", retry_after_s=1
            )
            await self._refuse(delivery, full)
            return
        task = asyncio.create_task(self._handle(delivery))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _handle(self, delivery: Delivery) -> None:
        """One request from its arrival to its end; nothing escapes but cancellation."""
        call = None
        try:
            call = await self._dispatch(delivery, self._clock.unix_ns())
        except asyncio.CancelledError:
            await self._refuse(delivery, self._closing())
            raise
        except AntiphonError as error:
            await self._refuse(delivery, error)
        except Exception as error:
            await self._refuse(delivery, self._broken(error))
        if call is not None:
            await self._stream(call)

    async def _dispatch(self, delivery: Delivery, arrived_ns: int) -> _Call | None:
        """Answer what has one answer; a request for a reply is accepted and comes back."""
        try:
            envelope = Envelope.from_headers(delivery.headers)
        except EnvelopeError as error:
            raise InvalidMessage(str(error)) from None
        if envelope.type == DescribeModel.message_name:
            decode(DescribeModel, delivery.body, envelope)
            await self._answer(delivery, await self._instance.capabilities())
        elif envelope.type == InspectModel.message_name:
            decode(InspectModel, delivery.body, envelope)
            metrics = await self._instance.metrics()
            await self._answer(delivery, metrics.model_copy(update={"model": self._model, "server": self._node}))
        elif envelope.type == EmbedRequest.message_name:
            request = decode(EmbedRequest, delivery.body, envelope)
            async with self._slot(request.deadline_unix_ms):
                with self._span(envelope, arrived_ns):
                    embeddings = await self._instance.embed(request)
            await self._answer(delivery, embeddings)
        else:
            asked = decode(GenerateRequest, delivery.body, envelope)
            owned = asked.model_copy(update={"tenant": self._tenant})
            return await self._accept(delivery, owned, envelope, arrived_ns)
        return None

    async def _accept(self, delivery: Delivery, request: GenerateRequest, envelope: Envelope, arrived_ns: int) -> _Call:
        try:
            id = subjects.parse_stream(envelope.reply)
        except subjects.SubjectError as error:
            raise InvalidRequest(f"header {REPLY}: {error}; it names the subject for the reply's chunks") from None
        stream = ReplyStream(self._bus, subjects.stream(self._tenant, id), self._clock, self._pace)
        control = await self._bus.subscribe(control_of(self._tenant, id), stream.signal)
        try:
            await self._answer(delivery, Accepted(server=self._node))
        except BaseException:
            await control.stop()
            raise
        return _Call(request=request, envelope=envelope, arrived_ns=arrived_ns, stream=stream, control=control)

    async def _stream(self, call: _Call) -> None:
        """An accepted request, to the end of its reply or of its reader."""
        work = asyncio.create_task(self._work(call))
        try:
            await call.stream.pump()
        except asyncio.CancelledError:
            await self._lost_unless(call.stream.fail(self._closing()))
            raise
        except BusError as error:
            self._log.warning("model_reply_lost", error=error.message)
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await call.control.stop()

    async def _work(self, call: _Call) -> None:
        """Generate into the stream; every way but cancellation ends with a Finish or an error."""
        try:
            async with self._slot(call.request.deadline_unix_ms):
                with self._span(call.envelope, call.arrived_ns):
                    await self._generate(call)
        except DeadlineExceeded:
            queued = Timing(queue_s=(self._clock.unix_ns() - call.arrived_ns) / 1e9)
            await call.stream.put(
                Finish(reason=FinishReason.CANCELLED, usage=Usage(), timing=queued, model=self._model)
            )
        except AntiphonError as error:
            await call.stream.put(model_error(error))
        except Exception as error:
            await call.stream.put(self._broken(error))

    async def _generate(self, call: _Call) -> None:
        queued_s = (self._clock.unix_ns() - call.arrived_ns) / 1e9
        async with aclosing(self._instance.generate(call.request)) as chunks:
            async for chunk in chunks:
                if isinstance(chunk, Finish):
                    timing = chunk.timing
                    timing = timing.model_copy(update={"queue_s": queued_s + (timing.queue_s or 0.0)})
                    await call.stream.put(chunk.model_copy(update={"timing": timing}))
                    return
                await call.stream.put(chunk)
        raise ModelUnavailable(f"model {self._model!r} on {self._node} ended without saying how; ask again")

    @asynccontextmanager
    async def _slot(self, deadline_unix_ms: int | None) -> AsyncGenerator[None, None]:
        """One of the instance's slots. Raises DeadlineExceeded when the deadline passes first."""
        left_s = None if deadline_unix_ms is None else deadline_unix_ms / 1e3 - self._clock.unix_ns() / 1e9
        try:
            async with asyncio.timeout(left_s):
                await self._slots.acquire()
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed before a slot was free; allow more time") from None
        self._active += 1
        try:
            yield
        finally:
            self._active -= 1
            self._slots.release()

    @contextmanager
    def _span(self, envelope: Envelope, arrived_ns: int) -> Generator[None, None, None]:
        """The process span of a request, a child of its sender's."""
        attributes: dict[str, str | int] = {
            names.MESSAGING_SYSTEM: names.NATS,
            names.MESSAGING_OPERATION_TYPE: "process",
            names.MESSAGING_OPERATION_NAME: "process",
            names.MESSAGING_DESTINATION: subjects.model(self._tenant, self._model),
            names.MESSAGING_TEMPLATE: _TEMPLATE,
            names.MESSAGING_GROUP: self._model,
            names.NODE: self._node,
            names.TENANT: self._tenant,
            names.QUEUE_ENTER_NS: arrived_ns,
            names.QUEUE_DEQUEUE_NS: self._clock.unix_ns(),
            names.QUEUE_DEPTH: len(self._running) - self._active,
            names.POOL_ID: f"model:{self._model}@{self._node}",
            names.POOL_CAPACITY: self._concurrency,
            names.POOL_ACTIVE: self._active,
        }
        if envelope.run:
            attributes[names.RUN] = attributes[names.MESSAGING_CONVERSATION] = envelope.run
        if envelope.task:
            attributes[names.TASK] = envelope.task
        with self._tracer.start_as_current_span(
            names.process_name(_TEMPLATE),
            context=context_of(envelope),
            kind=SpanKind.CONSUMER,
            attributes=attributes,
        ):
            yield

    async def _answer(self, delivery: Delivery, message: Message) -> None:
        headers = Envelope(type=message.message_name, version=message.message_version).headers()
        await self._bus.publish(delivery.reply, encode(message), headers)

    async def _refuse(self, delivery: Delivery, error: AntiphonError) -> None:
        info = error.info()
        sent = self._bus.publish(delivery.reply, info.model_dump_json().encode(), {ERROR: info.type})
        await self._lost_unless(sent)

    async def _lost_unless(self, sent: Coroutine[Any, Any, None]) -> None:
        """Send an error; where even that fails, its reader notices the silence."""
        try:
            await sent
        except BusError as error:
            self._log.warning("model_reply_lost", error=error.message)

    def _closing(self) -> ModelUnavailable:
        return ModelUnavailable(f"model {self._model!r} on {self._node} is closing; ask again")

    def _broken(self, error: Exception) -> ModelUnavailable:
        self._log.error("model_request_failed", exc_info=error)
        return ModelUnavailable(
            f"model {self._model!r} on {self._node} failed ({type(error).__name__}: {error}); see its log"
        )
