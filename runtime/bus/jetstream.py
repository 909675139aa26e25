"""Streams on JetStream, by its JSON API over our own requests."""

import asyncio
import base64
import json
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any

import msgspec

from antiphon.runtime.bus.api import NO_ROOM, Api, ApiError
from antiphon.runtime.bus.base import Consumer, ConsumerSpec, Delivery, Headers, StoredMessage, StreamSpec
from antiphon.runtime.bus.consumers import NatsConsumer, bind
from antiphon.runtime.bus.core import Core
from antiphon.runtime.bus.durability import too_few_servers
from antiphon.runtime.bus.matching import check_pattern, check_subject, matches
from antiphon.runtime.bus.refusals import conflict, full, no_space, no_stream, overlapping, unconfirmed
from antiphon.runtime.bus.stream_config import append_headers, merge, wanted
from antiphon.runtime.bus.wire import parse_headers
from antiphon.runtime.errors import BusUnavailable, Conflict, MessageTooLarge, NoResponders, RequestTimeout
from antiphon.schemas.subjects import ROOT

_ACK_S = 5.0  # a stored message is confirmed in well under a millisecond; this is a server in trouble
_PROBE_S = 1.0
_BATCH = 512  # messages a direct get asks for at once
_BATCH_BYTES = 8 * 1024 * 1024
_OVERLAP = 10065
_TOO_LARGE = 10054
_READABLE_S = 0.01
_NOT_THERE = (10043, 10057)  # a delete of a message that is gone; the second stands for failures of the store too
_STORE_HAS_NONE = re.compile("not found|no message found|deleted message|stream store EOF")
_HEADS = 1024
_OURS = f"{ROOT}."
_EXISTS = (10058,)  # stream name already in use with a different configuration
_NO_MESSAGE = 10037
_FENCE = (10071, 10164)  # wrong last sequence, with and without the number
_FULL = (10077, 10122, 10123)  # the store refused: maximum bytes, messages, messages per subject
_IN_PROCESS = 10158  # of a cluster: somebody's append with the same message id is being replicated
_IN_PROCESS_S = 0.05  # by then it is stored, and the next try finds it
_IN_PROCESS_TRIES = 100
_OWN = ("Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp", "Nats-Num-Pending", "Nats-Last-Sequence")


class _PubAck(msgspec.Struct):
    """What the server says to an append."""

    seq: int = 0
    error: dict[str, Any] | None = None


_PUB_ACK = msgspec.json.Decoder(_PubAck)


class NatsStreams:
    """Stored messages. Fenced appends are requests, never ``publish_async``, whose future is lost on a refusal."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._replicas = 1
        self._api = Api(core)
        self._heads: dict[tuple[str, ...], str] = {}  # the first three tokens of a subject -> its stream
        self._subjects: dict[str, tuple[str, ...]] = {}  # stream -> subjects, as far as they were needed here

    @property
    def api(self) -> Api:
        """The JSON API, for the neighbours."""
        return self._api

    def replicate(self, replicas: int) -> None:
        """Streams, buckets and blobs ensured from now on keep so many copies, on as many servers."""
        self._replicas = replicas

    async def ensure(self, spec: StreamSpec) -> None:
        """Create or widen a stream."""
        for subject in spec.subjects:
            check_pattern(subject)
        await self.ensure_config(wanted(spec), owes_work=spec.owes_work)

    async def ensure_config(self, config: dict[str, Any], *, owes_work: bool) -> None:
        """Create a stream, or bring the one that is there up to ``config``."""
        name = config["name"]
        config = {**config, "num_replicas": self._replicas}
        try:
            await self._api.call(f"STREAM.CREATE.{name}", config)
        except ApiError as error:
            if error.number == _OVERLAP:
                raise overlapping(name, config["subjects"]) from error
            if error.number not in _EXISTS:
                raise too_few_servers(name, self._replicas, error) or error.unavailable(
                    f"cannot create stream {name}"
                ) from error
            found = (await self._api.call(f"STREAM.INFO.{name}", {}))["config"]
            merged = merge(found, config, owes_work=owes_work)
            if merged is not None:
                try:
                    await self._api.call(f"STREAM.UPDATE.{name}", merged)
                except ApiError as refusal:
                    raise too_few_servers(name, self._replicas, refusal) or refusal.unavailable(
                        f"cannot update stream {name}"
                    ) from refusal
        if self._replicas > 1:
            await self._until_readable(name)
        self._subjects[name] = tuple(config["subjects"])

    async def append(
        self,
        subject: str,
        body: bytes,
        headers: Headers | None = None,
        *,
        message_id: str | None = None,
        expected_last: int | None = None,
        rollup: bool = False,
        ttl_s: float = 0.0,
    ) -> int:
        """Store a message and return its sequence."""
        added = append_headers(message_id, expected_last, rollup=rollup, ttl_s=ttl_s)
        sent = {**(headers or {}), **added} if added else headers
        for _ in range(_IN_PROCESS_TRIES):
            try:
                answer = await self._core.request(subject, body, sent, _ACK_S)
            except NoResponders as error:
                raise no_stream(subject) from error
            except RequestTimeout as error:
                raise await self._unconfirmed(subject) from error
            said = _PUB_ACK.decode(answer.body)
            if said.error is None:
                return said.seq
            problem = ApiError.of(said.error)
            if problem.number != _IN_PROCESS:
                break
            await asyncio.sleep(_IN_PROCESS_S)
        refusal = await self._refused(subject, body, expected_last, problem)
        if isinstance(refusal, Conflict) and message_id is not None:
            last = await self.last(subject)
            if last is not None and last.headers.get("Nats-Msg-Id") == message_id:
                return last.sequence  # our own append, whose confirmation was lost
        raise refusal

    async def offer(
        self, subject: str, body: bytes, headers: Headers | None, *, expected_last: int, rollup: bool, ttl_s: float
    ) -> None:
        """Send a message to be stored."""
        added = append_headers(None, expected_last, rollup=rollup, ttl_s=ttl_s)
        await self._core.publish(subject, body, {**(headers or {}), **added})

    async def last(self, subject: str) -> StoredMessage | None:
        """The newest message on exactly this subject, by direct get."""
        check_subject(subject)
        stream = await self._stream_of(subject)
        if stream is None:
            return None
        if self._replicas > 1:
            return await self._from_leader(stream, {"last_by_subj": subject})
        try:
            answer = await self._core.request(f"$JS.API.DIRECT.GET.{stream}.{subject}", b"", None, _ACK_S)
        except NoResponders as error:
            self._subjects.pop(stream, None)
            raise _no_direct(stream) from error
        except RequestTimeout as error:
            raise self._core.connection.unavailable(f"stream {stream} does not answer", error) from error
        status = answer.headers.get("Status", "")
        if status == "404":
            return None
        if status:
            raise BusUnavailable(f"stream {stream}: {status} {answer.headers.get('Description', '')}")
        return _stored(answer)

    async def last_of(self, subjects: Sequence[str]) -> dict[str, StoredMessage]:
        """The newest message on each of these subjects, by one direct get for up to ``_BATCH`` of them."""
        found: dict[str, StoredMessage] = {}
        if not subjects:
            return found
        stream = await self._stream_of(subjects[0])
        if stream is None:
            return found
        if self._replicas > 1:  # only a direct get takes several subjects, and a copy that is behind may answer it
            for subject, message in zip(subjects, await asyncio.gather(*map(self.last, subjects)), strict=True):
                if message is not None:
                    found[subject] = message
            return found
        for start in range(0, len(subjects), _BATCH):
            some = subjects[start : start + _BATCH]
            request = json.dumps({"multi_last": some, "batch": len(some)}).encode()
            answers = self._core.collect(f"$JS.API.DIRECT.GET.{stream}", request, _ACK_S)
            try:
                async for answer in answers:
                    status = answer.headers.get("Status", "")
                    if status in ("204", "404"):  # the end; none of them
                        break
                    if status:
                        raise BusUnavailable(f"stream {stream}: {status} {answer.headers.get('Description', '')}")
                    message = _stored(answer)
                    found[message.subject] = message
            except NoResponders as error:
                self._subjects.pop(stream, None)
                raise _no_direct(stream) from error
            finally:
                await answers.aclose()
        return found

    async def read(self, stream: str, subject: str, *, after: int = 0) -> AsyncGenerator[StoredMessage, None]:
        """Messages on ``subject`` after a sequence, in order, to the present end.

        By batched direct gets; where the copy that answers them is behind, the rest one by one from the leader.
        """
        newest = await self._from_leader(stream, {"last_by_subj": subject}) if self._replicas > 1 else None
        async with aclosing(self._read_direct(stream, subject, after)) as messages:
            async for message in messages:
                after = message.sequence
                yield message
        while newest is not None and after < newest.sequence:
            behind = await self._from_leader(stream, {"seq": after + 1, "next_by_subj": subject})
            if behind is None:
                return
            after = behind.sequence
            yield behind

    async def _read_direct(self, stream: str, subject: str, after: int) -> AsyncGenerator[StoredMessage, None]:
        left: int | None = None  # messages until what was the end when we began
        while left is None or left > 0:
            request = {"seq": after + 1, "batch": _BATCH, "next_by_subj": subject, "max_bytes": _BATCH_BYTES}
            answers = self._core.collect(f"$JS.API.DIRECT.GET.{stream}", json.dumps(request).encode(), _ACK_S)
            try:
                async for answer in answers:
                    status = answer.headers.get("Status", "")
                    if status in ("204", "404"):  # end of batch; nothing there
                        if left is None or (status == "404"):
                            return
                        break
                    if status:
                        raise BusUnavailable(f"stream {stream}: {status} {answer.headers.get('Description', '')}")
                    pending = int(answer.headers["Nats-Num-Pending"])
                    left = pending if left is None else min(left - 1, pending)
                    message = _stored(answer)
                    after = message.sequence
                    yield message
            except NoResponders as error:
                raise _no_direct(stream) from error
            finally:
                await answers.aclose()

    async def _from_leader(self, stream: str, request: dict[str, Any]) -> StoredMessage | None:
        """A direct get may be answered by a copy that is behind (ADR-31); who decides by it needs the leader's word."""
        try:
            found = (await self._api.call(f"STREAM.MSG.GET.{stream}", request))["message"]
        except ApiError as error:
            if error.number == _NO_MESSAGE:
                return None
            raise error.unavailable(f"cannot read stream {stream}") from error
        headers = parse_headers(base64.b64decode(found["hdrs"]))[1] if "hdrs" in found else {}
        body = base64.b64decode(found.get("data", ""))
        return StoredMessage(found["subject"], body, headers, int(found["seq"]), unix_ms(found["time"]))

    async def consume(self, spec: ConsumerSpec) -> Consumer:
        """Create the durable if it is not there, and bind to it."""
        await bind(self._api, spec)
        consumer = NatsConsumer(self._core, self._api, spec)
        await consumer.start()
        return consumer

    async def purge(self, stream: str, *, subject: str | None = None, below: int | None = None) -> int:
        """Remove messages; how many went."""
        request: dict[str, Any] = {}
        if subject is not None:
            request["filter"] = subject
        if below is not None:
            request["seq"] = below
        try:
            return int((await self._api.call(f"STREAM.PURGE.{stream}", request))["purged"])
        except ApiError as error:
            raise error.unavailable(f"cannot purge stream {stream}") from error

    async def delete(self, stream: str, sequence: int) -> bool:
        """Remove one message; its bytes go with its block, without being written over first."""
        try:
            await self._api.call(f"STREAM.MSG.DELETE.{stream}", {"seq": sequence, "no_erase": True})
        except ApiError as error:
            if error.number in _NOT_THERE and _STORE_HAS_NONE.search(error.description):
                return False
            raise error.unavailable(f"cannot delete message {sequence} of stream {stream}") from error
        return True

    async def _unconfirmed(self, subject: str) -> BusUnavailable:
        """A server whose disk is full says nothing at all about an append, and answers every other call (seen)."""
        try:
            stream, used, limit = await self._usage(subject, _PROBE_S)
        except (BusUnavailable, ApiError):
            return unconfirmed(subject, _ACK_S)
        return unconfirmed(subject, _ACK_S, f"stream {stream} uses {used} of {limit} bytes")

    async def _usage(self, subject: str, timeout_s: float = _ACK_S) -> tuple[str, int, int]:
        """The stream that takes ``subject``, its bytes and its limit in bytes."""
        stream = await self._stream_of(subject) or "?"
        info = await self._api.call(f"STREAM.INFO.{stream}", {}, timeout_s)
        return stream, int(info["state"]["bytes"]), int(info["config"]["max_bytes"])

    async def _refused(self, subject: str, body: bytes, expected: int | None, error: ApiError) -> Exception:
        """The server's refusal of an append, in the words of the seam."""
        if error.number in _FENCE:
            found = re.search(r"\d+$", error.description)
            return conflict(subject, expected or 0, int(found[0]) if found else None)
        if error.number == _TOO_LARGE:
            return MessageTooLarge(f"the stream of {subject!r} takes no message of {len(body)} bytes", size=len(body))
        if error.number in _FULL or error.number in NO_ROOM:
            stream, used, limit = await self._usage(subject)
            if "maximum bytes" in error.description:
                return full(stream, subject, len(body), used, limit)
            return no_space(stream, subject, used, error.description)
        return error.unavailable(f"append to {subject!r} was refused")

    async def _until_readable(self, stream: str) -> None:
        """A new stream of several copies has nobody who reads it for a moment after the server has confirmed it."""
        try:
            async with asyncio.timeout(_ACK_S):
                while True:
                    try:
                        await self._core.request(f"$JS.API.DIRECT.GET.{stream}", b'{"seq":1}', None, _ACK_S)
                        return
                    except NoResponders:
                        await asyncio.sleep(_READABLE_S)
        except (TimeoutError, RequestTimeout) as error:
            raise self._core.connection.unavailable(f"the copies of stream {stream} do not answer", error) from error

    async def _stream_of(self, subject: str) -> str | None:
        if not subject.startswith(_OURS):
            return await self._search(subject)
        # Our streams take whole kinds: what the first three tokens say holds for the rest (a search takes 11 µs).
        head = tuple(subject.split(".", 3)[:3])
        known = self._heads.get(head)
        if known is not None and known in self._subjects:
            return known
        found = await self._search(subject)
        if found is not None:
            if len(self._heads) >= _HEADS:
                self._heads.clear()
            self._heads[head] = found
        return found

    async def _search(self, subject: str) -> str | None:
        for name, patterns in self._subjects.items():
            if any(matches(pattern, subject) for pattern in patterns):
                return name
        names = (await self._api.call("STREAM.NAMES", {"subject": subject})).get("streams") or []
        if not names:
            return None
        config = (await self._api.call(f"STREAM.INFO.{names[0]}", {}))["config"]
        self._subjects[names[0]] = tuple(config.get("subjects") or ())
        return str(names[0])


def _stored(answer: Delivery) -> StoredMessage:
    """A direct get's answer as the message it holds."""
    headers = answer.headers
    return StoredMessage(
        headers["Nats-Subject"],
        answer.body,
        {key: value for key, value in headers.items() if key not in _OWN},
        int(headers["Nats-Sequence"]),
        unix_ms(headers["Nats-Time-Stamp"]),
    )


def unix_ms(stamp: str) -> int:
    """An RFC 3339 time with nine digits or fewer; Python 3.11 reads six."""
    return int(datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", stamp)).timestamp() * 1000)


def _no_direct(stream: str) -> BusUnavailable:
    return BusUnavailable(
        f"stream {stream} gives no direct reads; it is missing, or was created without allow_direct: run ensure_streams"
    )
