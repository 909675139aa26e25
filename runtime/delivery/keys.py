"""Order by key: messages of one key of one handler run one at a time and in the order in which they were stored.

A message arrives on the handler's own subject. A durable with one message in flight, so strictly in order, forwards
each to a lane of the handler, chosen by its key; each lane has a durable with one message in flight. So a message that
is being worked on, waits or is to be tried again stays in front of those behind it, through every crash, because the
server says so. Whoever forwards holds one message, so a lane's messages first appear in the handler's order, and one
that was forwarded twice is found done the second time.
"""

from typing import Any

import structlog

from antiphon.runtime.agent import Agent, Handler
from antiphon.runtime.bus.base import ConsumerSpec, Lease, StoredMessage
from antiphon.runtime.bus.topology import TASKS
from antiphon.runtime.delivery.bodies import unpack
from antiphon.runtime.delivery.payload import decode
from antiphon.runtime.delivery.slots import Slot
from antiphon.runtime.errors import BusError
from antiphon.runtime.host import Host
from antiphon.schemas import subjects
from antiphon.schemas.envelope import ATTEMPT, TASK, WAKE, Envelope
from antiphon.schemas.identity import derived_id

log = structlog.get_logger()


def forwarder_spec(host: Host, agent: Agent, handler: Handler[Any, Any]) -> ConsumerSpec:
    """The durable that hands out the handler's messages one by one."""
    return _one_by_one(host, agent, handler, "keys", "")


def lane_specs(host: Host, agent: Agent, handler: Handler[Any, Any]) -> list[ConsumerSpec]:
    """The durables of the handler's lanes."""
    return [_one_by_one(host, agent, handler, lane, lane) for lane in subjects.KEY_LANES]


def _one_by_one(host: Host, agent: Agent, handler: Handler[Any, Any], what: str, lane: str) -> ConsumerSpec:
    return ConsumerSpec(
        stream=TASKS.name,
        # No agent is called so: names have no "=".
        name=f"{host.tenant}_{agent.name}={handler.address.handler}={what}",
        subjects=(subjects.task(host.tenant, handler.address, lane),),
        ack_wait_s=agent.lease_s,
        max_in_flight=1,
    )


class KeyForwarder:
    """Puts a message of a keyed handler into the lane of its key. ``Worker`` calls it."""

    def __init__(self, host: Host, handler: Handler[Any, Any]) -> None:
        self._host = host
        self._handler = handler

    async def __call__(self, lease: Lease, slot: Slot) -> None:
        """Store the message in its lane, then settle it. Raises BusError."""
        message = lease.message
        if WAKE not in message.headers:  # else it is for a task that began before the handler had keys
            headers = {key: value for key, value in message.headers.items() if not key.startswith("Nats-")}
            task = headers.setdefault(TASK, derived_id(TASKS.name, str(message.sequence)))
            if lease.deliveries > 1:
                headers[ATTEMPT] = "2"  # whoever gets it reads the journal first: it may be there twice
            subject = subjects.task(self._host.tenant, self._handler.address, await self._lane(message, task))
            await self._host.bus.streams.append(
                subject, message.body, headers, message_id=f"{task}:lane:{message.sequence}"
            )
        slot.give()  # the next is asked for while this ack is on its way; the server sends it after the ack
        await lease.ack()

    async def _lane(self, message: StoredMessage, task: str) -> str:
        """By its key; a message that has none goes by its id to where its error becomes the task's."""
        try:
            body = await unpack(self._host.bus, message.body, message.headers)
            return subjects.key_lane(key_of(self._handler, body, Envelope.from_headers(message.headers)))
        except BusError:
            raise
        except Exception as error:
            log.info("message_without_key", task=task, handler=str(self._handler.address), error=str(error))
            return subjects.key_lane(task)


def key_of(handler: Handler[Any, Any], body: bytes, envelope: Envelope) -> str:
    """The key of a stored message; empty if the handler has none.

    Raises:
        MessageError: the body is not what the handler takes.
        ConfigurationError: the key function returned no text.
        Exception: whatever it raised.
    """
    return handler.key_of(decode(handler.input, body, envelope)) if handler.key is not None else ""
