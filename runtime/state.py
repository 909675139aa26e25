"""``ctx.state``: what an agent keeps between messages, shared by its replicas."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import msgspec

from antiphon.runtime.delivery.payload import decode, encode
from antiphon.runtime.errors import Conflict
from antiphon.runtime.policies.chain import OperationKind, Outcome
from antiphon.schemas.identity import check_name
from antiphon.schemas.message import Message
from antiphon.schemas.task import Effect

if TYPE_CHECKING:
    from antiphon.runtime.bus.base import Bucket
    from antiphon.runtime.context import Context

M = TypeVar("M", bound=Message)
BUCKET = "antiphon_state"
TRIES = 16  # of an update against concurrent ones


class State:
    """Named messages of one agent. Each method is one traced operation."""

    __slots__ = ("_agent", "_ctx")

    def __init__(self, ctx: "Context", agent: str) -> None:
        self._ctx = ctx
        self._agent = agent

    async def get(self, name: str, type_: type[M]) -> M | None:
        """The value, or None if it was never put. Raises InvalidMessage if it is not a ``type_``."""

        async def read() -> bytes:
            entry = await (await self._bucket()).get(self._key(name))
            return b"" if entry is None or entry.value is None else entry.value

        body: bytes = (await self._perform("get", name, Effect.READ, read)).body
        return decode(type_, body) if body else None

    async def put(self, name: str, value: Message) -> None:
        """Store the value, whatever was there."""

        async def write() -> bytes:
            await (await self._bucket()).put(self._key(name), encode(value))
            return b""

        await self._perform("put", name, Effect.WRITE, write)

    async def update(self, name: str, type_: type[M], change: Callable[[M | None], M]) -> M:
        """Replace the value by ``change(value)``, which may run again when another replica was faster.

        Raises:
            Conflict: others were faster every time.
        """

        async def write() -> bytes:
            bucket = await self._bucket()
            for _ in range(TRIES):
                entry = await bucket.get(self._key(name))
                old = None if entry is None or entry.value is None else decode(type_, entry.value)
                body = encode(change(old))
                try:
                    await bucket.put(self._key(name), body, revision=0 if entry is None else entry.revision)
                except Conflict:
                    continue
                return body
            raise Conflict(f"state {name!r} of agent {self._agent!r} changed {TRIES} times under an update", name=name)

        return decode(type_, (await self._perform("update", name, Effect.WRITE, write)).body)

    async def delete(self, name: str) -> None:
        """Forget the value. Idempotent."""

        async def remove() -> bytes:
            await (await self._bucket()).delete(self._key(name))
            return b""

        await self._perform("delete", name, Effect.WRITE, remove)

    async def _bucket(self) -> "Bucket":
        return await self._ctx.host.bus.buckets.open(BUCKET)

    def _key(self, name: str) -> str:
        return f"{self._ctx.scope.tenant}.{self._agent}.{check_name('state', name)}"

    async def _perform(self, verb: str, name: str, effect: Effect, work: Callable[[], Awaitable[bytes]]) -> Outcome:
        operation = self._ctx.operation(
            OperationKind.STATE, verb, msgspec.json.encode(name), effect=effect, request=work
        )
        return await self._ctx.perform(operation)
