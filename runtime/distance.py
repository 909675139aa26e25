"""A bus as it looks from another machine: what is asked of it takes time to arrive, and so does the answer.

The in-memory bus does everything at once, so that nothing else can happen between two of its operations. At a distance
every operation is two waits, and in each of them a node can die, a lease lapse or another node be faster.
"""

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, cast

from antiphon.runtime.bus.base import Bus
from antiphon.runtime.bus.blobs import StreamBlobs
from antiphon.runtime.bus.memory import MemoryBuckets, MemoryBus, MemoryInspector, MemoryStreams, MemorySubscription
from antiphon.runtime.bus.memory_buckets import MemoryBucket
from antiphon.runtime.bus.memory_streams import MemoryConsumer, MemoryLease

Travel = Callable[[], Awaitable[None]]

_THERE = (
    MemoryBuckets,
    MemoryInspector,
    MemoryStreams,
    MemorySubscription,
    StreamBlobs,
    MemoryBucket,
    MemoryConsumer,
    MemoryLease,
)


def distant(bus: MemoryBus, travel: Travel) -> Bus:
    """``bus``, with ``await travel()`` before and after each operation; ``close`` stays at once."""
    return cast(Bus, _Distant(bus, travel))


class _Distant:
    """Anything of the bus. By name, because all of it is treated alike, what is added tomorrow too."""

    def __init__(self, target: Any, travel: Travel) -> None:
        self._target = target
        self._travel = travel

    def __getattr__(self, name: str) -> Any:
        found: Any = getattr(self._target, name)
        if name in ("read", "watch", "headers"):
            return self._iterate(found)
        if inspect.ismethod(found) and name != "close":
            return self._call(found)
        return self._wrap(found)

    def _call(self, operation: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            await self._travel()
            try:
                found = await operation(*args, **kwargs)
            except Exception:
                await self._travel()
                raise
            await self._travel()
            return self._wrap(found)

        return call

    def _iterate(self, operation: Callable[..., AsyncGenerator[Any, None]]) -> Callable[..., AsyncGenerator[Any, None]]:
        async def iterate(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
            await self._travel()
            items = operation(*args, **kwargs)
            try:
                async for item in items:
                    await self._travel()
                    yield item
            finally:
                await items.aclose()

        return iterate

    def _wrap(self, found: object) -> Any:
        if isinstance(found, list):
            return [self._wrap(item) for item in cast(list[object], found)]
        return _Distant(found, self._travel) if isinstance(found, _THERE) else found
