"""Answers low-latency requests for one agent: mailbox, slot, handler, reply."""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from antiphon.runtime.agent import Agent, Handler
from antiphon.runtime.bus.base import Delivery, Subscription
from antiphon.runtime.bus.services import EndpointStats
from antiphon.runtime.delivery.bodies import INLINE_MAX, pack, unpack
from antiphon.runtime.delivery.execute import Executor, Job, Target
from antiphon.runtime.delivery.slots import Slots
from antiphon.runtime.errors import AntiphonError, BusError, Busy, InvalidMessage, NotDurable, to_info
from antiphon.runtime.host import Host
from antiphon.schemas import subjects
from antiphon.schemas.envelope import BLOB, ERROR, Envelope, EnvelopeError

REFUSING = 64  # asks that are being told Busy at the same time
MOST_SLOTS = 10_000  # as schemas.policy.Concurrency has it

log = structlog.get_logger()


@dataclass(slots=True)
class _Tally:
    """Of one handler since the node started; ``processing_ns`` counts the wait for a slot too."""

    requests: int = 0
    errors: int = 0
    processing_ns: int = 0
    last_error: str = ""


class AskServer:
    """Serves the asks of one agent on this node; queue group = agent, so replicas share them."""

    def __init__(self, host: Host, agent: Agent, slots: Slots, executor: Executor) -> None:
        self._host = host
        self._agent = agent
        self._slots = slots
        self._executor = executor
        self._subscriptions: list[Subscription] = []
        self._count = 0
        self._answered: asyncio.Event | None = None
        self._tallies: dict[str, _Tally] = {}

    async def start(self) -> None:
        """Listen. Raises BusError."""
        for handler in self._agent.handlers.values():
            address = handler.address
            assert handler.function is not None  # handlers of a hosted agent always have one
            target = self._executor.target(subjects.Kind.ASK, address, handler.input, handler.output, handler.function)
            tally = self._tallies[address.handler] = _Tally()
            self._subscriptions.append(
                await self._host.bus.subscribe(
                    subjects.ask(self._host.tenant, address),
                    partial(self._receive, target, tally) if handler.key is None else partial(self._decline, handler),
                    queue=self._agent.name,
                    # The mailbox is the slots': each accepted ask waits there in its own task, one more is refused.
                    # A policy may give the agent more slots while it runs.
                    concurrency=MOST_SLOTS + self._slots.limit + REFUSING,
                )
            )

    async def stop(self) -> None:
        """Take no more; those that wait in the mailbox are still answered."""
        for subscription in self._subscriptions:
            await subscription.stop()
        self._subscriptions.clear()

    def stats(self) -> dict[str, EndpointStats]:
        """Per handler, what the services protocol reports."""
        return {
            name: EndpointStats(
                requests=tally.requests,
                errors=tally.errors,
                processing_ns=tally.processing_ns,
                last_error=tally.last_error,
            )
            for name, tally in self._tallies.items()
        }

    async def wait_answered(self) -> None:
        """Return when everyone who was accepted has an answer."""
        if self._count:
            self._answered = asyncio.Event()
            await self._answered.wait()

    async def _receive(self, target: Target, tally: _Tally, delivery: Delivery) -> None:
        enter_ns = self._host.clock.unix_ns()
        slots = self._slots
        try:
            await slots.acquire()
        except Busy as error:
            await self._refuse(delivery, error)
            return
        self._count += 1
        tally.requests += 1
        try:
            if BLOB in delivery.headers:
                delivery = delivery._replace(body=await unpack(self._host.bus, delivery.body, delivery.headers))
            body = await self._executor.run(self._job(target, delivery, enter_ns))
            if delivery.reply:
                # No headers: the caller knows the type from its handler, and only errors need telling apart.
                headers = None
                if len(body) > INLINE_MAX:
                    host = self._host
                    body, headers = await pack(host.bus, body, {}, host.tenant, None, max_bytes=host.max_body)
                await self._host.bus.publish(delivery.reply, body, headers)
        except Exception as error:
            tally.errors += 1
            tally.last_error = str(error)
            await self._refuse(delivery, error)
        finally:
            tally.processing_ns += self._host.clock.unix_ns() - enter_ns
            slots.release()
            self._count -= 1
            if not self._count and self._answered is not None:
                self._answered.set()

    async def _decline(self, handler: Handler[Any, Any], delivery: Delivery) -> None:
        """For whoever does not know that the handler is keyed."""
        try:
            handler.check_askable()
        except NotDurable as error:
            await self._refuse(delivery, error)

    def _job(self, target: Target, delivery: Delivery, enter_ns: int) -> Job:
        try:
            envelope = Envelope.from_headers(delivery.headers)
        except EnvelopeError as error:
            raise InvalidMessage(str(error)) from None
        return Job(target, delivery.subject, envelope, delivery.body, "", 1, enter_ns, self._slots.waiting)

    async def _refuse(self, delivery: Delivery, error: Exception) -> None:
        """Answer with the error; what cannot be answered is logged."""
        info = to_info(error)
        if not isinstance(error, AntiphonError):
            log.exception("handler_failed", subject=delivery.subject, error=info.message, exc_info=error)
        if not delivery.reply:
            return
        try:
            await self._host.bus.publish(delivery.reply, info.model_dump_json().encode(), {ERROR: info.type})
        except BusError as lost:
            log.warning("reply_not_sent", subject=delivery.subject, error=lost.message)
