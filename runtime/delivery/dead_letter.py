"""What could not be delivered: the reason and the original bytes, kept where a person can see them."""

import base64

from antiphon.runtime.bus.base import Bus, StoredMessage
from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.payload import encode
from antiphon.schemas import subjects
from antiphon.schemas.envelope import Envelope
from antiphon.schemas.task import DeadLetter, ErrorInfo

MAX_BODY = 262_144  # bytes kept in the letter itself; base64 would carry a body near the bus's limit over it


async def bury(
    bus: Bus,
    clock: Clock,
    tenant: str,
    agent: str,
    message: StoredMessage,
    *,
    reason: ErrorInfo,
    attempts: int,
    task: str | None = None,
) -> None:
    """Store a dead letter, once per stored message. Raises BusError; the message then stays where it was."""
    is_large = len(message.body) > MAX_BODY
    letter = DeadLetter(
        subject=message.subject,
        reason=reason,
        attempts=attempts,
        headers=dict(message.headers),
        body_base64="" if is_large else base64.b64encode(message.body).decode(),
        body_sha256=await bus.blobs.put(message.body) if is_large else None,
        task=task,
        unix_ms=clock.unix_ns() // 1_000_000,
    )
    kind = subjects.parse(message.subject).kind
    await bus.streams.append(
        subjects.dead(tenant, agent),
        encode(letter),
        Envelope(type=DeadLetter.message_name, task=task or "").headers(),
        message_id=f"dead-{kind.value}-{message.sequence}",
    )
