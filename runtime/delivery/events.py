"""Events of one topic for one agent: stored, shared by its replicas, redelivered until handled."""

import random

import structlog

from antiphon.runtime.agent import Agent, Subscriber
from antiphon.runtime.bus.base import ConsumerSpec, Lease
from antiphon.runtime.bus.topology import EVENTS
from antiphon.runtime.delivery.dead_letter import bury
from antiphon.runtime.delivery.execute import Executor, Job
from antiphon.runtime.delivery.retry import delay_s
from antiphon.runtime.delivery.slots import Slots
from antiphon.runtime.errors import AntiphonError, InvalidMessage, NodeStopping, to_info
from antiphon.runtime.host import Host
from antiphon.schemas import subjects
from antiphon.schemas.envelope import Envelope, EnvelopeError

log = structlog.get_logger()


def consumer_spec(host: Host, agent: Agent, subscriber: Subscriber) -> ConsumerSpec:
    """The durable that all replicas of the agent share for this subscriber; it begins with new events."""
    return ConsumerSpec(
        stream=EVENTS.name,
        name=f"{host.tenant}_{agent.name}_{subscriber.address.handler}",
        subjects=(subjects.event(host.tenant, subscriber.topic),),
        ack_wait_s=agent.lease_s,
        max_in_flight=100_000,
        start="new",
    )


class EventProcessor:
    """Hands one leased event to the subscriber; a failed one is tried again, then becomes a dead letter."""

    def __init__(
        self,
        host: Host,
        agent: Agent,
        subscriber: Subscriber,
        slots: Slots,
        executor: Executor,
        rng: random.Random,
    ) -> None:
        self._host = host
        self._agent = agent
        self._target = executor.target(
            subjects.Kind.EVENT, subscriber.address, subscriber.input, None, subscriber.function
        )
        self._slots = slots
        self._executor = executor
        self._rng = rng

    async def __call__(self, lease: Lease) -> None:
        """Run it. Raises BusError."""
        host, most = self._host, self._agent.max_attempts
        try:
            if lease.deliveries > most:
                raise NodeStopping(f"its worker died in each of {most} attempts")
            await self._executor.run(self._job(lease))
        except Exception as error:
            info = to_info(error)
            if not isinstance(error, AntiphonError):
                log.exception("subscriber_failed", subject=lease.message.subject, attempt=lease.deliveries)
            if info.retryable and lease.deliveries < most:
                stopping = isinstance(error, NodeStopping)
                await lease.nak(0.0 if stopping else delay_s(lease.deliveries, self._rng))
                return
            await bury(
                host.bus,
                host.clock,
                host.tenant,
                self._agent.name,
                lease.message,
                reason=info,
                attempts=min(lease.deliveries, most),
            )
        await lease.ack()

    def _job(self, lease: Lease) -> Job:
        message = lease.message
        try:
            envelope = Envelope.from_headers(message.headers)
        except EnvelopeError as error:
            raise InvalidMessage(str(error)) from None
        return Job(
            self._target,
            message.subject,
            envelope,
            message.body,
            "",
            lease.deliveries,
            message.unix_ms * 1_000_000,
            self._slots.waiting + lease.behind,
        )
