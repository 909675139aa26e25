"""Content hashes for evidence: equal contents are recognised, contents are not revealed."""

import contextlib
import hashlib

from antiphon.runtime.bus.base import Bus
from antiphon.runtime.errors import BusError, Conflict
from antiphon.schemas.identity import new_id


class ContentHash:
    """SHA-256 of a deployment's key and the content, 32 hexadecimal digits.

    Plain hashes leak equality to whoever can guess a content; the key is known to the deployment only.
    """

    __slots__ = ("_state",)

    def __init__(self, key: str) -> None:
        self._state = hashlib.sha256(key.encode())

    def __call__(self, content: bytes) -> str:
        """The content's hash."""
        state = self._state.copy()
        state.update(content)
        return state.hexdigest()[:32]


async def deployment_hash(bus: Bus) -> ContentHash:
    """The hash that all processes on this bus share; the first one makes its key. Raises BusError."""
    bucket = await bus.buckets.open("antiphon_deployment")
    entry = await bucket.get("content-key")
    if entry is None:
        with contextlib.suppress(Conflict):  # another process was first; its key is read below
            await bucket.put("content-key", new_id().encode(), revision=0)
        entry = await bucket.get("content-key")
    if entry is None or entry.value is None:
        raise BusError("the bucket antiphon_deployment lost its content-key: is something else deleting keys?")
    return ContentHash(entry.value.decode())
