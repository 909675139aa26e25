"""``ctx.state``: what an agent keeps between messages, shared by its replicas."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from antiphon.runtime.delivery.payload import decode, encode
from antiphon.runtime.errors import Conflict
from antiphon.runtime.policies.chain import Operation, OperationKind
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

    def get(self, name: str, type_: type[M]) -> Coroutine[Any, Any, M | None]:
        """The value, or None if it was never put. Raises InvalidMessage if it is not a ``type_``."""
        key = self._key(name)

        async def read() -> bytes:
            entry = await (await self._bucket()).get(key)
            return b"" if entry is None or entry.value is None else entry.value

        return self._decoded(self._operation("get", name, Effect.READ, read), type_)

    def put(self, name: str, value: Message) -> Coroutine[Any, Any, None]:
        """Store the value, whatever was there."""
        key, body = self._key(name), encode(value)

        async def write() -> bytes:
            await (await self._bucket()).put(key, body)
            return b""

        return self._done(self._operation("put", name, Effect.WRITE, write))

    def update(self, name: str, type_: type[M], change: Callable[[M | None], M]) -> Coroutine[Any, Any, M]:
        """Replace the value by ``change(value)``, which may run again when another replica was faster.

        Raises:
            Conflict: others were faster every time.
        """
        key = self._key(name)

        async def write() -> bytes:
            bucket = await self._bucket()
            for _ in range(TRIES):
                entry = await bucket.get(key)
                old = None if entry is None or entry.value is None else decode(type_, entry.value)
                body = encode(change(old))
                try:
                    await bucket.put(key, body, revision=0 if entry is None else entry.revision)
                except Conflict:
                    continue
                return body
            raise Conflict(f"state {name!r} of agent {self._agent!r} changed {TRIES} times under an update", name=name)

        return self._updated(self._operation("update", name, Effect.WRITE, write), type_)

    def delete(self, name: str) -> Coroutine[Any, Any, None]:
        """Forget the value. Idempotent."""
        key = self._key(name)

        async def remove() -> bytes:
            await (await self._bucket()).delete(key)
            return b""

        return self._done(self._operation("delete", name, Effect.WRITE, remove))

    async def _decoded(self, operation: Operation, type_: type[M]) -> M | None:
        body = (await self._ctx.perform(operation)).body
        return decode(type_, body) if body else None

    async def _updated(self, operation: Operation, type_: type[M]) -> M:
        return decode(type_, (await self._ctx.perform(operation)).body)

    async def _done(self, operation: Operation) -> None:
        await self._ctx.perform(operation)

    async def _bucket(self) -> "Bucket":
        return await self._ctx.host.bus.buckets.open(BUCKET)

    def _key(self, name: str) -> str:
        return f"{self._ctx.scope.tenant}.{self._agent}.{check_name('state', name)}"

    def _operation(self, verb: str, name: str, effect: Effect, work: Callable[[], Awaitable[bytes]]) -> Operation:
        return self._ctx.operation(OperationKind.STATE, verb, msgspec.json.encode(name), effect=effect, request=work)
