"""Blobs over any ``Streams``, in the layout of a NATS object store, so that ``nats object`` can list them.

A blob is a run of chunks on a subject of its own and one record that names it by digest. The record is written last
and with the fence ``expected_last=0``: there is one, it is complete, and who comes second removes his chunks again.
"""

import asyncio
import base64
import hashlib
import json
import secrets
from collections import OrderedDict

from antiphon.runtime.bus.base import Streams, StreamSpec
from antiphon.runtime.errors import BusError, Conflict

_BUCKET = "antiphon-blobs"
_STREAM = f"OBJ_{_BUCKET}"
_CHUNK = 131_072  # bytes; the object store's own
_CACHE = 64 * 1024 * 1024  # bytes; nats-py reads object stores slowly (nats.py#703), so read once
_STORE = 1024 * 1024 * 1024  # bytes

SPEC = StreamSpec(name=_STREAM, subjects=(f"$O.{_BUCKET}.C.>", f"$O.{_BUCKET}.M.>"), max_bytes=_STORE, owes_work=True)


class StreamBlobs:
    """Large bodies by the SHA-256 of their content, with a cache of what was last used here."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._cache: OrderedDict[str, bytes] = OrderedDict()
        self._cached = 0
        self._ready = asyncio.Lock()
        self._created = False

    async def put(self, content: bytes) -> str:
        """Store (once) and return the digest."""
        digest = hashlib.sha256(content).hexdigest()
        await self._create()
        if await self._streams.last(_record(digest)) is None:
            await self._store(digest, content)
        self._keep(digest, content)
        return digest

    async def get(self, digest: str) -> bytes:
        """The content, checked. Raises BusError."""
        cached = self._cache.get(digest)
        if cached is not None:
            self._cache.move_to_end(digest)
            return cached
        await self._create()
        record = await self._streams.last(_record(digest))
        if record is None:
            raise BusError(f"no blob {digest}; it was never stored here, or has been purged", digest=digest)
        chunks = [chunk.body async for chunk in self._streams.read(_STREAM, _chunks(json.loads(record.body)["nuid"]))]
        content = b"".join(chunks)
        found = hashlib.sha256(content).hexdigest()
        if found != digest:
            raise BusError(
                f"blob {digest} is damaged: its {len(content)} bytes hash to {found}; store it again", digest=digest
            )
        self._keep(digest, content)
        return content

    async def _store(self, digest: str, content: bytes) -> None:
        nuid = secrets.token_hex(11)
        view = memoryview(content)
        pieces = [bytes(view[start : start + _CHUNK]) for start in range(0, len(content), _CHUNK)]
        for piece in pieces:
            await self._streams.append(_chunks(nuid), piece)
        record = {
            "name": digest,
            "bucket": _BUCKET,
            "nuid": nuid,
            "size": len(content),
            "chunks": len(pieces),
            "digest": "SHA-256=" + base64.urlsafe_b64encode(bytes.fromhex(digest)).decode(),
            "options": {"max_chunk_size": _CHUNK},
        }
        try:
            await self._streams.append(_record(digest), json.dumps(record).encode(), expected_last=0)
        except Conflict:
            await self._streams.purge(_STREAM, subject=_chunks(nuid))

    async def _create(self) -> None:
        async with self._ready:
            if not self._created:
                await self._streams.ensure(SPEC)
                self._created = True

    def _keep(self, digest: str, content: bytes) -> None:
        if len(content) > _CACHE // 4 or digest in self._cache:
            return
        self._cache[digest] = content
        self._cached += len(content)
        while self._cached > _CACHE:
            _, old = self._cache.popitem(last=False)
            self._cached -= len(old)


def _record(digest: str) -> str:
    return f"$O.{_BUCKET}.M.{base64.urlsafe_b64encode(digest.encode()).decode()}"


def _chunks(nuid: str) -> str:
    return f"$O.{_BUCKET}.C.{nuid}"
