"""What the server says about streams and durables, by JetStream's JSON API."""

import base64
from collections.abc import AsyncGenerator
from typing import Any

from antiphon.runtime.bus.api import MISSING_STREAM, Api, ApiError
from antiphon.runtime.bus.base import ConsumerState, StoredMessage, StreamUsage
from antiphon.runtime.bus.core import Core
from antiphon.runtime.bus.header_scan import scan
from antiphon.runtime.bus.jetstream import unix_ms
from antiphon.runtime.bus.refusals import missing
from antiphon.runtime.bus.wire import parse_headers
from antiphon.runtime.errors import BusUnavailable

_NO_MESSAGE = 10037


class NatsInspector:
    """For housekeeping; every call is one request or a few."""

    def __init__(self, core: Core, api: Api) -> None:
        self._core = core
        self._api = api

    async def usage(self, stream: str) -> StreamUsage:
        """How much the stream holds."""
        state = (await self._ask(stream, f"STREAM.INFO.{stream}", {}))["state"]
        last = int(state["last_seq"])
        messages = int(state["messages"])
        return StreamUsage(
            messages=messages,
            bytes=int(state["bytes"]),
            first=int(state["first_seq"]) if messages else last + 1,
            last=last,
        )

    async def consumers(self, stream: str) -> list[ConsumerState]:
        """All durables of the stream."""
        last = (await self.usage(stream)).last
        found: list[ConsumerState] = []
        offset = 0
        while True:
            page = await self._ask(stream, f"CONSUMER.LIST.{stream}", {"offset": offset})
            infos = page.get("consumers") or []
            found += [await self._state(stream, info, last) for info in infos if "durable_name" in info["config"]]
            offset += len(infos)
            if not infos or offset >= int(page["total"]):
                return found

    async def get(self, stream: str, sequence: int) -> StoredMessage | None:
        """One stored message, or None if it is gone."""
        return await self._message(stream, {"seq": sequence})

    def headers(self, stream: str, subject: str) -> AsyncGenerator[StoredMessage, None]:
        """Messages on ``subject`` without their bodies."""
        return scan(self._core, self._api, stream, subject)

    async def _state(self, stream: str, info: dict[str, Any], last: int) -> ConsumerState:
        config = info["config"]
        subjects = tuple(config.get("filter_subjects") or [config.get("filter_subject") or ">"])
        state = ConsumerState(
            name=config["durable_name"],
            subjects=subjects,
            floor=int(info["ack_floor"]["stream_seq"]),
            pending=int(info["num_pending"]),
            held=int(info["num_ack_pending"]),
        )
        if state.pending or state.held or state.floor >= last:
            return state
        # The server tells its consumers of a stored message a moment later, so that "nothing pending" may be said of
        # one that was stored before; only the stream itself knows that all on these subjects was settled.
        for subject in subjects:
            newest = await self._message(stream, {"last_by_subj": subject})
            if newest is not None and newest.sequence > state.floor:
                return state
        return ConsumerState(name=state.name, subjects=subjects, floor=last, pending=0, held=0)

    async def _message(self, stream: str, request: dict[str, Any]) -> StoredMessage | None:
        """From the stream's leader: a direct get may be answered by a copy that is a moment behind."""
        try:
            said = (await self._api.call(f"STREAM.MSG.GET.{stream}", request))["message"]
        except ApiError as error:
            if error.number == _NO_MESSAGE:
                return None
            raise _translated(stream, error) from error
        block = base64.b64decode(said.get("hdrs") or "")
        return StoredMessage(
            said["subject"],
            base64.b64decode(said.get("data") or ""),
            parse_headers(block)[1] if block else {},
            int(said["seq"]),
            unix_ms(said["time"]),
        )

    async def _ask(self, stream: str, verb: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return await self._api.call(verb, request)
        except ApiError as error:
            raise _translated(stream, error) from error


def _translated(stream: str, error: ApiError) -> BusUnavailable:
    return missing(stream) if error.number == MISSING_STREAM else error.unavailable(f"cannot inspect stream {stream}")
