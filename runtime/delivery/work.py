"""A durable task in hand: what a leased message says it is."""

import base64
from dataclasses import replace
from typing import NamedTuple

from antiphon.runtime.bus.base import Lease, StoredMessage
from antiphon.runtime.bus.topology import TASKS
from antiphon.runtime.delivery.history import History
from antiphon.runtime.errors import InvalidMessage
from antiphon.schemas import subjects
from antiphon.schemas.envelope import Envelope, EnvelopeError
from antiphon.schemas.identity import Address, InvalidName, check_task, derived_id


class Work(NamedTuple):
    """One task and the lease on it. ``message`` is as it was first stored, whatever woke it."""

    lease: Lease
    message: StoredMessage
    envelope: Envelope
    task: str
    address: Address
    started_unix_ms: int

    def original(self, history: History) -> "Work":
        """The task as it was first stored: a wake-up carries nothing but its number."""
        parked = history.parked
        if not self.envelope.wake or parked is None:
            return self
        message = replace(self.message, headers=parked.headers, body=base64.b64decode(parked.body_base64))
        return self._replace(message=message, envelope=Envelope.from_headers(parked.headers))


def read_work(lease: Lease, now_ms: int) -> tuple[Work, InvalidMessage | None]:
    """The task that a leased message is, and what is wrong with its headers."""
    message = lease.message
    task, envelope, problem = "", Envelope(), None
    try:
        envelope = Envelope.from_headers(message.headers)
        task = check_task(envelope.task) if envelope.task else ""
    except (EnvelopeError, InvalidName) as error:
        problem = InvalidMessage(str(error))
    # A bare body has no id: this one is the same on every redelivery.
    task = task or derived_id(TASKS.name, str(message.sequence))
    return Work(lease, message, envelope, task, subjects.parse_task(message.subject), now_ms), problem
