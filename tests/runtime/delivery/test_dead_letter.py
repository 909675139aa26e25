"""Dead letters keep the original bytes, once, however large they are."""

import base64

from antiphon.runtime.bus.base import StoredMessage
from antiphon.runtime.bus.topology import ensure_streams
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.delivery.dead_letter import MAX_BODY, bury
from antiphon.runtime.delivery.payload import decode
from antiphon.runtime.testing import MemoryBus, MemoryServer
from antiphon.schemas.task import DeadLetter, ErrorInfo

SUBJECT = "antiphon.default.task.a.b"


async def buried(body: bytes) -> tuple[list[DeadLetter], MemoryBus]:
    """The letters about one message that was buried twice."""
    bus = MemoryBus(MemoryServer())
    await ensure_streams(bus)
    message = StoredMessage(SUBJECT, body, {"X": "y"}, 7, 0)
    for _ in range(2):
        await bury(bus, SystemClock(), "default", "a", message, reason=ErrorInfo(type="T", message="m"), attempts=2)
    letters = [stored async for stored in bus.streams.read("ANTIPHON_DEAD", "antiphon.default.dead.a")]
    return [decode(DeadLetter, stored.body) for stored in letters], bus


async def test_a_letter_has_the_bytes_the_headers_and_the_reason() -> None:
    """Burying the same stored message again changes nothing."""
    (letter,), bus = await buried(b"\xff\x00")
    assert base64.b64decode(letter.body_base64) == b"\xff\x00"
    assert (letter.subject, letter.headers, letter.attempts, letter.reason.type) == (SUBJECT, {"X": "y"}, 2, "T")
    assert letter.body_sha256 is None
    await bus.close()


async def test_a_body_near_the_limit_lies_in_the_blob_store() -> None:
    """base64 would make it larger than the bus carries, and the work would never end."""
    body = b"x" * (MAX_BODY + 1)
    (letter,), bus = await buried(body)
    assert letter.body_base64 == ""
    assert letter.body_sha256 is not None
    assert await bus.blobs.get(letter.body_sha256) == body
    await bus.close()
