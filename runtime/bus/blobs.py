"""Blobs over any ``Streams``, in the layout of a NATS object store, so that ``nats object`` can list them.

A blob is a run of chunks on a subject of its own and one record that names it by digest. The record is written last
and with the fence ``expected_last=0``: there is one, it is complete, and who comes second removes his chunks again.
"""

import asyncio
import base64
import hashlib
import json
from collections import OrderedDict

from antiphon.runtime.bus.base import BlobEntry, Streams, StreamSpec
from antiphon.runtime.errors import BusError, Conflict
from antiphon.schemas.identity import new_id

_BUCKET = "antiphon-blobs"
_STREAM = f"OBJ_{_BUCKET}"
_CHUNK = 131_072  # bytes; the object store's own
_CACHE = 64 * 1024 * 1024  # bytes; nats-py reads object stores slowly (nats.py#703), so read once
_STORE = 1024 * 1024 * 1024  # bytes
_PAUSES_S = (0.05, 0.2, 0.5)  # in a cluster a copy that is read may be a moment behind the one that was written
_RECORDS = f"$O.{_BUCKET}.M.>"

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
        while not (await self._refresh(digest) or await self._store(digest, content)):
            pass  # somebody put or deleted the same content in between
        self._keep(digest, content)
        return digest

    async def get(self, digest: str) -> bytes:
        """The content, checked. Raises BusError."""
        cached = self._cache.get(digest)
        if cached is not None:
            self._cache.move_to_end(digest)
            return cached
        await self._create()
        for pause_s in _PAUSES_S:
            try:
                return await self._read(digest)
            except BusError:
                await asyncio.sleep(pause_s)
        return await self._read(digest)

    async def _read(self, digest: str) -> bytes:
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

    async def entries(self) -> list[BlobEntry]:
        """All blobs that are there."""
        await self._create()
        records = self._streams.read(_STREAM, _RECORDS)
        found = [(json.loads(record.body), record.unix_ms) async for record in records]
        return [BlobEntry(digest=record["name"], size=record["size"], unix_ms=unix_ms) for record, unix_ms in found]

    async def delete(self, digest: str) -> None:
        """Remove a blob, unless it is put again at this moment. Idempotent."""
        await self._create()
        self._forget(digest)
        record = await self._streams.last(_record(digest))
        if record is None:
            return
        if await self._streams.purge(_STREAM, subject=_record(digest), below=record.sequence + 1):
            await self._streams.purge(_STREAM, subject=_chunks(json.loads(record.body)["nuid"]))

    async def _refresh(self, digest: str) -> bool:
        """Whether the content is there; then its record is stored anew, for the time of the last put."""
        record = await self._streams.last(_record(digest))
        if record is None:
            return False
        try:
            await self._streams.append(_record(digest), record.body, expected_last=record.sequence, rollup=True)
        except Conflict:
            return False
        return True

    async def _store(self, digest: str, content: bytes) -> bool:
        nuid = new_id()
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
            return False
        return True

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

    def _forget(self, digest: str) -> None:
        self._cached -= len(self._cache.pop(digest, b""))


def _record(digest: str) -> str:
    return f"$O.{_BUCKET}.M.{base64.urlsafe_b64encode(digest.encode()).decode()}"


def _chunks(nuid: str) -> str:
    return f"$O.{_BUCKET}.C.{nuid}"
