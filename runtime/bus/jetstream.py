"""Streams on JetStream, by its JSON API over our own requests."""

import json
import re
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Any

from antiphon.runtime.bus.api import Api, ApiError
from antiphon.runtime.bus.base import Consumer, ConsumerSpec, Delivery, Headers, StoredMessage, StreamSpec
from antiphon.runtime.bus.consumers import NatsConsumer, bind
from antiphon.runtime.bus.core import Core
from antiphon.runtime.bus.matching import check_pattern, check_subject, matches
from antiphon.runtime.bus.refusals import conflict, full, no_stream
from antiphon.runtime.bus.stream_config import merge, wanted
from antiphon.runtime.errors import BusUnavailable, Conflict, MessageTooLarge, NoResponders, RequestTimeout

_ACK_S = 5.0  # a stored message is confirmed in well under a millisecond; this is a server in trouble
_BATCH = 512  # messages a direct get asks for at once
_BATCH_BYTES = 8 * 1024 * 1024
_EXISTS = (10058,)  # stream name already in use with a different configuration
_FENCE = (10071, 10164)  # wrong last sequence, with and without the number
_FULL = (10077, 10122, 10123)  # the store refused: maximum bytes, messages, messages per subject
_OWN = ("Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp", "Nats-Num-Pending", "Nats-Last-Sequence")


class NatsStreams:
    """Stored messages. Fenced appends are requests, never ``publish_async``, whose future is lost on a refusal."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._api = Api(core)
        self._subjects: dict[str, tuple[str, ...]] = {}  # stream -> subjects, as far as they were needed here

    @property
    def api(self) -> Api:
        """The JSON API, for the neighbours."""
        return self._api

    async def ensure(self, spec: StreamSpec) -> None:
        """Create or widen a stream."""
        for subject in spec.subjects:
            check_pattern(subject)
        await self.ensure_config(wanted(spec), owes_work=spec.owes_work)

    async def ensure_config(self, config: dict[str, Any], *, owes_work: bool) -> None:
        """Create a stream, or bring the one that is there up to ``config``."""
        name = config["name"]
        try:
            await self._api.call(f"STREAM.CREATE.{name}", config)
        except ApiError as error:
            if error.number not in _EXISTS:
                raise error.unavailable(f"cannot create stream {name}") from error
            found = (await self._api.call(f"STREAM.INFO.{name}", {}))["config"]
            merged = merge(found, config, owes_work=owes_work)
            if merged is not None:
                try:
                    await self._api.call(f"STREAM.UPDATE.{name}", merged)
                except ApiError as refusal:
                    raise refusal.unavailable(f"cannot update stream {name}") from refusal
        self._subjects[name] = tuple(config["subjects"])

    async def append(
        self,
        subject: str,
        body: bytes,
        headers: Headers | None = None,
        *,
        message_id: str | None = None,
        expected_last: int | None = None,
    ) -> int:
        """Store a message and return its sequence."""
        sent = headers
        if message_id is not None or expected_last is not None:
            given = dict(headers) if headers else {}
            if message_id is not None:
                given["Nats-Msg-Id"] = message_id
            if expected_last is not None:
                given["Nats-Expected-Last-Subject-Sequence"] = str(expected_last)
            sent = given
        try:
            answer = await self._core.request(subject, body, sent, _ACK_S)
        except NoResponders as error:
            raise no_stream(subject) from error
        except RequestTimeout as error:
            raise BusUnavailable(
                f"append to {subject!r} was not confirmed within {_ACK_S:g} s; it may be stored: "
                "repeat it with the same message id",
                subject=subject,
            ) from error
        said = json.loads(answer.body)
        if "error" not in said:
            return int(said["seq"])
        refusal = _refused(subject, body, expected_last, ApiError.of(said["error"]), said.get("stream") or "?")
        if isinstance(refusal, Conflict) and message_id is not None:
            last = await self.last(subject)
            if last is not None and last.headers.get("Nats-Msg-Id") == message_id:
                return last.sequence  # our own append, whose confirmation was lost
        raise refusal

    async def last(self, subject: str) -> StoredMessage | None:
        """The newest message on exactly this subject, by direct get."""
        check_subject(subject)
        stream = await self._stream_of(subject)
        if stream is None:
            return None
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

    async def read(self, stream: str, subject: str, *, after: int = 0) -> AsyncGenerator[StoredMessage, None]:
        """Messages on ``subject`` after a sequence, in order, to the present end, by batched direct gets."""
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

    async def _stream_of(self, subject: str) -> str | None:
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
    moment = datetime.fromisoformat(_microseconds(headers["Nats-Time-Stamp"]))
    return StoredMessage(
        headers["Nats-Subject"],
        answer.body,
        {key: value for key, value in headers.items() if key not in _OWN},
        int(headers["Nats-Sequence"]),
        int(moment.timestamp() * 1000),
    )


def _microseconds(stamp: str) -> str:
    """An RFC 3339 time with nine digits or fewer, cut to the six that Python 3.11 reads."""
    return re.sub(r"(\.\d{6})\d+", r"\1", stamp)


def _refused(subject: str, body: bytes, expected: int | None, error: ApiError, stream: str) -> Exception:
    if error.number in _FENCE:
        found = re.search(r"\d+$", error.description)
        return conflict(subject, expected or 0, int(found[0]) if found else None)
    if error.number in _FULL:
        return full(stream, subject, error.description)
    if error.number == 10054:
        return MessageTooLarge(f"stream {stream} takes no message of {len(body)} bytes on {subject!r}")
    return error.unavailable(f"append to {subject!r} was refused")


def _no_direct(stream: str) -> BusUnavailable:
    return BusUnavailable(
        f"stream {stream} gives no direct reads; it is missing, or was created without allow_direct: run ensure_streams"
    )
