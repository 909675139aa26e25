"""``ctx.state``: what an agent keeps between messages, shared by its replicas."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from antiphon.runtime.delivery.payload import decode, encode
from antiphon.runtime.errors import Conflict
from antiphon.runtime.policies.chain import Operation, OperationKind
from antiphon.schemas.identity import check_name, derived_id
from antiphon.schemas.message import Message
from antiphon.schemas.task import Effect

if TYPE_CHECKING:
    from antiphon.runtime.bus.base import Bucket, Entry
    from antiphon.runtime.context import Context

M = TypeVar("M", bound=Message)
BUCKET = "antiphon_state"
TRIES = 16  # of an update against concurrent ones
KEYS = 16  # writes of one value that are recognised when a crashed task repeats them


class State:
    """Named messages of one agent; in a keyed handler, of one key. Each method is one traced operation."""

    __slots__ = ("_agent", "_ctx")

    def __init__(self, ctx: "Context", agent: str) -> None:
        self._ctx = ctx
        self._agent = agent

    def get(self, name: str, type_: type[M]) -> Coroutine[Any, Any, M | None]:
        """The value, or None if it was never put. Raises InvalidMessage if it is not a ``type_``."""
        operation = self._operation("get", name, Effect.READ)
        key = self._key(name)

        async def read() -> bytes:
            return bytes(_stored(await (await self._bucket()).get(key)).value)

        operation.request = read
        return self._decoded(operation, type_)

    def put(self, name: str, value: Message) -> Coroutine[Any, Any, None]:
        """Store the value, whatever was there."""
        body = encode(value)
        return self._done(self._write("put", name, lambda _: body))

    def update(self, name: str, type_: type[M], change: Callable[[M | None], M]) -> Coroutine[Any, Any, M]:
        """Replace the value by ``change(value)``, which may run again when another replica was faster.

        Raises:
            Conflict: others were faster every time.
        """

        def changed(old: bytes) -> bytes:
            return encode(change(decode(type_, old) if old else None))

        return self._updated(self._write("update", name, changed, returns=True), type_)

    def delete(self, name: str) -> Coroutine[Any, Any, None]:
        """Forget the value. Idempotent."""
        return self._done(self._write("delete", name, lambda _: b""))

    def _write(self, verb: str, name: str, change: Callable[[bytes], bytes], *, returns: bool = False) -> Operation:
        """A compare-and-set that happens once for its idempotency key, also after a crash before its entry."""
        operation = self._operation(verb, name, Effect.WRITE)
        key = self._key(name)

        async def write() -> bytes:
            bucket = await self._bucket()
            for _ in range(TRIES):
                entry = await bucket.get(key)
                old = _stored(entry)
                if operation.key in old.keys:
                    return bytes(old.value) if returns else b""
                body = change(bytes(old.value))
                new = _Stored(msgspec.Raw(body or b"null"), (*old.keys, operation.key)[-KEYS:])
                try:
                    await bucket.put(key, msgspec.json.encode(new), revision=0 if entry is None else entry.revision)
                except Conflict:
                    continue
                return body if returns else b""
            raise Conflict(f"state {name!r} of agent {self._agent!r} changed {TRIES} times under an update", name=name)

        operation.request = write
        return operation

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
        check_name("state", name)
        of_key = f".{derived_id(self._ctx.key)}" if self._ctx.key else ""
        return f"{self._ctx.scope.tenant}.{self._agent}{of_key}.{name}"

    def _operation(self, verb: str, name: str, effect: Effect) -> Operation:
        return self._ctx.operation(OperationKind.STATE, verb, msgspec.json.encode(name), effect=effect)


class _Stored(msgspec.Struct):
    """A value in the bucket, and the idempotency keys of the last writes."""

    value: msgspec.Raw
    keys: tuple[str, ...] = ()


def _stored(entry: "Entry | None") -> _Stored:
    if entry is None or entry.value is None:
        return _Stored(msgspec.Raw(b""))
    found = msgspec.json.decode(entry.value, type=_Stored)
    return found if bytes(found.value) != b"null" else _Stored(msgspec.Raw(b""), found.keys)
