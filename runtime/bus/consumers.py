"""Durable pull consumers and their leases."""

import asyncio

import structlog

from antiphon.runtime.bus.api import Api, ApiError
from antiphon.runtime.bus.base import ConsumerSpec, Lease, StoredMessage
from antiphon.runtime.bus.core import Core
from antiphon.runtime.bus.pull import LOST, Pulled, Puller
from antiphon.runtime.bus.refusals import stopped

_NS = 1_000_000_000
_PULL_S = 5.0  # one pull lives at most this long, so that one the server forgot (nats.py#504) costs no more
_GRACE_S = 0.5  # between the server's expiry and ours
_NO_WAIT_S = 0.1
_GAP_S = 0.025  # between messages that are there; longer means that the in-flight limit is reached
_RETRY_S = 0.1
# A durable of this name was deleted a moment ago, and its directory goes after the server has told so (seen with 2.15.1
# in 9 of 400 creates): its file system's "no such file or directory", and "consumer does not exist".
_STILL_GOING = (10012, 10149)
_BIND_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8)

_log = structlog.get_logger(__name__)


async def bind(api: Api, spec: ConsumerSpec) -> None:
    """Create the durable or bring it up to ``spec``; while its deleted namesake is still going, again after a pause.

    Raises:
        BusUnavailable: the server refuses, if for a passing reason then for longer than all ``_BIND_PAUSES_S``.
    """
    config: dict[str, object] = {
        "durable_name": spec.name,
        "name": spec.name,
        "deliver_policy": spec.start,
        "ack_policy": "explicit",
        "ack_wait": int(spec.ack_wait_s * _NS),
        "max_deliver": spec.max_deliveries or -1,
        "max_ack_pending": spec.max_in_flight,
        "replay_policy": "instant",
    }
    if len(spec.subjects) == 1:
        config["filter_subject"] = spec.subjects[0]
    else:
        config["filter_subjects"] = list(spec.subjects)
    for pause_s in (*_BIND_PAUSES_S, None):
        try:
            await api.call(
                f"CONSUMER.DURABLE.CREATE.{spec.stream}.{spec.name}", {"stream_name": spec.stream, "config": config}
            )
            return
        except ApiError as error:
            if pause_s is None or error.number not in _STILL_GOING:
                raise error.unavailable(f"cannot bind consumer {spec.name} of stream {spec.stream}") from error
            _log.warning(
                "consumer_bind_repeated", stream=spec.stream, consumer=spec.name, pause_s=pause_s, error=error.message
            )
        await asyncio.sleep(pause_s)


class NatsConsumer:
    """One binding to a durable. ``fetch`` calls take turns."""

    def __init__(self, core: Core, api: Api, spec: ConsumerSpec) -> None:
        self._core = core
        self._api = api
        self._spec = spec
        self._puller = Puller(core, spec.stream, spec.name, hand_back=True)
        self._turn = asyncio.Lock()
        self._stopped = False

    async def start(self) -> None:
        """Listen for what will be pulled."""
        await self._puller.start()

    async def fetch(self, limit: int, timeout_s: float) -> list[Lease]:
        """Up to ``limit`` messages; empty when none came in ``timeout_s``.

        First whatever is there (``no_wait``), then a wait for a single message: a waiting pull for more would keep
        collecting after this call has returned.
        """
        if self._stopped:
            raise stopped(self._spec.name)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        async with self._turn:
            try:
                if limit > 1:
                    leases = await self._pull(limit, _NO_WAIT_S, no_wait=True)
                    if leases:
                        return leases
                while not self._stopped and (remaining := deadline - loop.time()) > 0:
                    leases = await self._pull(1, min(remaining, _PULL_S), no_wait=False)
                    if leases:
                        return leases
                return []
            finally:
                self._puller.end()

    async def unsettled(self) -> int:
        """Messages that nobody is done with: not handed out yet, or handed out and not settled."""
        try:
            info = await self._api.call(f"CONSUMER.INFO.{self._spec.stream}.{self._spec.name}", {})
        except ApiError as error:
            raise error.unavailable(f"consumer {self._spec.name} does not answer") from error
        return int(info["num_pending"]) + int(info["num_ack_pending"])

    async def stop(self) -> None:
        """Unbind; the durable itself and its messages stay. Idempotent."""
        if not self._stopped:
            self._stopped = True
            await self._puller.stop()

    async def _pull(self, batch: int, timeout_s: float, *, no_wait: bool) -> list[Lease]:
        await self._puller.ask(batch, expires_s=timeout_s, no_wait=no_wait)
        leases: list[Lease] = []
        limit = timeout_s + _GRACE_S
        while len(leases) < batch:
            pulled = await self._puller.next(_GAP_S if leases else limit)
            if pulled is None:
                if not self._core.connection.connected and not leases:
                    raise self._core.connection.unavailable(f"cannot fetch for {self._spec.name!r}")
                break
            if pulled.message is None:
                await self._ended(pulled)
                break
            leases.append(NatsLease(self._core, pulled, pulled.message))
            if not pulled.pending:
                break
        return leases

    async def _ended(self, end: Pulled) -> None:
        """404 nothing there and 408 expired are ordinary; the rest is a consumer or a server in trouble."""
        if end.status in (404, 408):
            return
        if end.status != LOST:
            await asyncio.sleep(_RETRY_S)
        if end.status == 503 or "Deleted" in end.text:
            # After the pause: bound at once, 31 of 400 durables lost their new directory to the removal of the old one.
            await bind(self._api, self._spec)


class NatsLease:
    """A stored message in our hands."""

    def __init__(self, core: Core, pulled: Pulled, message: StoredMessage) -> None:
        self._core = core
        self._reply = pulled.reply
        self._deliveries = pulled.deliveries
        self._behind = pulled.pending
        self._message = message

    @property
    def message(self) -> StoredMessage:
        """What was fetched."""
        return self._message

    @property
    def deliveries(self) -> int:
        """How often it has been handed out."""
        return self._deliveries

    @property
    def behind(self) -> int:
        """How many waited behind it."""
        return self._behind

    async def ack(self) -> None:
        """Done."""
        await self._core.publish(self._reply, b"+ACK")

    async def nak(self, delay_s: float) -> None:
        """Hand it back; it comes again after ``delay_s``."""
        await self._core.publish(self._reply, b'-NAK {"delay": %d}' % int(delay_s * _NS))

    async def extend(self) -> None:
        """Still at it."""
        await self._core.publish(self._reply, b"+WPI")
