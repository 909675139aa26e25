"""Events of one topic for one agent: each becomes a durable task of the subscriber, once.

So an event has what a task has: a journal, retries, parking, one outcome, a dead letter. Its task id derives from the
event, so that an event that was stored twice, or forwarded twice, is handled once as long as results are kept.
"""

import structlog

from antiphon.runtime.agent import Agent, Subscriber
from antiphon.runtime.bus.base import ConsumerSpec, Lease
from antiphon.runtime.bus.topology import EVENTS
from antiphon.runtime.delivery.dead_letter import bury
from antiphon.runtime.delivery.slots import Slot
from antiphon.runtime.errors import InvalidMessage
from antiphon.runtime.host import Host
from antiphon.schemas import subjects
from antiphon.schemas.envelope import BLOB, MESSAGE_ID, Envelope, EnvelopeError
from antiphon.schemas.identity import derived_id

FORWARDING = 64  # events of one subscriber that are being forwarded at once

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


class EventForwarder:
    """Turns an event into the subscriber's task."""

    def __init__(self, host: Host, agent: Agent, subscriber: Subscriber) -> None:
        self._host = host
        self._agent = agent
        self._address = subscriber.address
        self._topic = subscriber.topic

    async def __call__(self, lease: Lease, slot: Slot) -> None:
        """Store the task, then settle the event. Raises BusError."""
        host, message = self._host, lease.message
        event = message.headers.get(MESSAGE_ID) or f"{EVENTS.name}:{message.sequence}"
        task = derived_id("event", host.tenant, event, str(self._address))
        try:
            envelope = Envelope.from_headers(message.headers)
        except EnvelopeError as error:
            info = InvalidMessage(str(error)).info()
            await bury(
                host.bus, host.clock, host.tenant, self._agent.name, message, reason=info, attempts=lease.deliveries
            )
            await lease.ack()
            return
        forwarded = envelope._replace(task=task, topic=self._topic, message_id="")
        headers = forwarded.headers()
        if BLOB in message.headers:
            headers[BLOB] = message.headers[BLOB]
        await host.bus.streams.append(subjects.task(host.tenant, self._address), message.body, headers, message_id=task)
        await lease.ack()
