"""Key-value buckets on JetStream, in the layout of NATS KV, so that ``nats kv`` works on them."""

import asyncio
import secrets
from collections.abc import AsyncGenerator
from typing import Any

from antiphon.runtime.bus.api import ApiError
from antiphon.runtime.bus.base import Bucket, Entry, StoredMessage
from antiphon.runtime.bus.core import Core
from antiphon.runtime.bus.jetstream import NatsStreams
from antiphon.runtime.bus.keys import check_bucket, check_key
from antiphon.runtime.bus.pull import Puller
from antiphon.runtime.bus.refusals import closed, key_conflict
from antiphon.runtime.errors import BusUnavailable, Conflict

_NS = 1_000_000_000
_LIMIT = 64 * 1024 * 1024  # bytes a bucket may hold
_MARKER_S = 60.0  # how long the server keeps the news of a deletion or expiry; who was away longer lists anew
_BATCH = 256
_PULL_S = 5.0
_GRACE_S = 0.5
_RETRY_S = 0.25
_INACTIVE_S = 30.0  # an abandoned watcher's consumer goes away after this


class NatsBuckets:
    """Key-value buckets by name."""

    def __init__(self, core: Core, streams: NatsStreams) -> None:
        self._core = core
        self._streams = streams

    async def open(self, name: str, *, ttl_s: float = 0.0) -> Bucket:
        """The bucket, created if missing; without ``ttl_s`` one that is there keeps its own."""
        check_bucket(name)
        await self._streams.ensure_config(_config(name, ttl_s), owes_work=False)
        return NatsBucket(self._core, self._streams, name)


class NatsBucket:
    """One bucket."""

    def __init__(self, core: Core, streams: NatsStreams, name: str) -> None:
        self._core = core
        self._streams = streams
        self._name = name
        self._stream = f"KV_{name}"
        self._prefix = f"$KV.{name}."

    async def get(self, key: str) -> Entry | None:
        """The key's entry, or None."""
        check_key(key)
        message = await self._streams.last(self._prefix + key)
        return None if message is None or _is_marker(message) else self._entry(message)

    async def put(self, key: str, value: bytes, *, revision: int | None = None) -> int:
        """Store and return the new revision. Raises Conflict."""
        check_key(key)
        subject = self._prefix + key
        try:
            return await self._streams.append(subject, value, expected_last=revision)
        except Conflict:
            message = await self._streams.last(subject)
            if revision == 0 and message is not None and _is_marker(message):
                # The key is gone, but the news of it still holds the subject's last sequence.
                try:
                    return await self._streams.append(subject, value, expected_last=message.sequence)
                except Conflict:
                    message = await self._streams.last(subject)
            found = 0 if message is None or _is_marker(message) else message.sequence
            raise key_conflict(self._name, key, revision or 0, found) from None

    async def delete(self, key: str) -> None:
        """Remove the key. Idempotent."""
        check_key(key)
        headers = {"KV-Operation": "DEL", "Nats-TTL": f"{_MARKER_S:g}s"}
        await self._streams.append(self._prefix + key, b"", headers)

    async def entries(self) -> list[Entry]:
        """All live entries."""
        messages = self._streams.read(self._stream, f"{self._prefix}>")
        return [self._entry(message) async for message in messages if not _is_marker(message)]

    async def watch(self) -> AsyncGenerator[Entry, None]:
        """Live entries first, then every change, by a consumer that is built anew whenever it falls silent.

        Each new consumer starts with the newest message a key; what was seen already is left out, and a key that is
        no longer there is told of.
        """
        seen: dict[str, int] = {}
        while True:
            watcher = _Watcher(self._core, self._streams, self._stream, f"{self._prefix}>")
            try:
                live: set[str] | None = set()  # None once the listing is complete
                async for message in watcher.messages():
                    if message is None:
                        for key in sorted(seen.keys() - (live or set())) if live is not None else ():
                            yield Entry(key, None, seen.pop(key))
                        live = None
                        continue
                    entry = self._entry(message)
                    if live is not None and entry.value is not None:
                        live.add(entry.key)
                    if message.sequence <= seen.get(entry.key, 0):
                        continue
                    if entry.value is None:
                        if seen.pop(entry.key, None) is not None or live is None:
                            yield entry
                    else:
                        seen[entry.key] = message.sequence
                        yield entry
            finally:
                await watcher.stop()
            if self._core.closed:
                raise closed()
            await asyncio.sleep(_RETRY_S)

    def _entry(self, message: StoredMessage) -> Entry:
        key = message.subject[len(self._prefix) :]
        return Entry(key, None if _is_marker(message) else message.body, message.sequence)


class _Watcher:
    """An ephemeral consumer for one stretch of watching."""

    def __init__(self, core: Core, streams: NatsStreams, stream: str, subject: str) -> None:
        self._core = core
        self._api = streams.api
        self._stream = stream
        self._subject = subject
        self._name = f"watch-{secrets.token_hex(8)}"
        self._puller = Puller(core, stream, self._name, hand_back=False)
        self._started = False

    async def messages(self) -> AsyncGenerator[StoredMessage | None, None]:
        """The newest message a key, None when those are through, then what comes; ends when the server is lost."""
        try:
            pending = await self._create()
        except BusUnavailable:
            return
        await self._puller.start()
        self._started = True
        expected = 1
        if not pending:
            yield None
        while True:
            try:
                await self._puller.ask(_BATCH, expires_s=_PULL_S)
            except BusUnavailable:
                return
            for _ in range(_BATCH):
                pulled = await self._puller.next(_PULL_S + _GRACE_S)
                if pulled is None:
                    return
                if pulled.message is None:
                    if pulled.status != 408:
                        return
                    break
                if pulled.consumer_sequence != expected:
                    return  # one was lost on the way
                expected += 1
                yield pulled.message
                if expected == pending + 1:
                    yield None

    async def stop(self) -> None:
        """Let go of the consumer."""
        if self._started:
            await self._puller.stop()
        if self._core.connection.connected:
            try:
                await self._api.call(f"CONSUMER.DELETE.{self._stream}.{self._name}", {})
            except (ApiError, BusUnavailable):
                return  # it goes away by itself after _INACTIVE_S

    async def _create(self) -> int:
        config = {
            "name": self._name,
            "deliver_policy": "last_per_subject",
            "ack_policy": "none",
            "filter_subject": self._subject,
            "inactive_threshold": int(_INACTIVE_S * _NS),
            "mem_storage": True,
            "num_replicas": 1,
        }
        try:
            info = await self._api.call(
                f"CONSUMER.CREATE.{self._stream}.{self._name}", {"stream_name": self._stream, "config": config}
            )
        except ApiError as error:
            raise error.unavailable(f"cannot watch {self._stream}") from error
        return int(info["num_pending"])


def _config(name: str, ttl_s: float) -> dict[str, Any]:
    """One message a key; the server tells of expiry by a marker, and markers go away by themselves."""
    return {
        "name": f"KV_{name}",
        "subjects": [f"$KV.{name}.>"],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_bytes": _LIMIT,
        "max_msgs": -1,
        "max_msgs_per_subject": 1,
        "allow_direct": True,
        "allow_rollup_hdrs": True,
        "deny_delete": True,
        "allow_msg_ttl": True,
        "subject_delete_marker_ttl": int(_MARKER_S * _NS),
        **({"max_age": int(ttl_s * _NS), "duplicate_window": int(min(120.0, ttl_s) * _NS)} if ttl_s else {}),
    }


def _is_marker(message: StoredMessage) -> bool:
    """Whether the message tells that its key is gone: deleted, purged or expired."""
    return "KV-Operation" in message.headers or "Nats-Marker-Reason" in message.headers
