"""The world beside virtual time: a thread with an ordinary event loop, for model calls and functions done live."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import TypeVar

from antiphon.runtime.errors import DeadlineExceeded
from antiphon.runtime.models.base import ModelInstance
from antiphon.runtime.models.price import Price
from antiphon.runtime.models.registry import ModelRegistry
from antiphon.runtime.models.structured import collect
from antiphon.runtime.settings import Settings
from antiphon.schemas.inference import Embeddings, EmbedRequest, GenerateRequest, Reply

LIMIT_S = 600.0  # of one call; models and tools have shorter ones of their own

T = TypeVar("T")


class Outside:
    """``with Outside(settings) as outside``: calls block, one after the other, and tell how long each took.

    So what is done live takes its own time and no neighbour's, and virtual time puts it where the program has it.
    ``instances`` as ModelRegistry takes them.
    """

    def __init__(self, settings: Settings, instances: Mapping[str, ModelInstance] | None = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._models = ModelRegistry(settings, instances=instances)
        self._ready: dict[str, ModelInstance] = {}
        self._thread = threading.Thread(target=self._loop.run_forever, name="antiphon-outside", daemon=True)

    def __enter__(self) -> "Outside":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.call(self._models.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT_S)
        self._loop.close()

    def call(self, make: Callable[[], Awaitable[T]]) -> tuple[T, float]:
        """What ``make()`` returns, awaited out there, and the seconds it took.

        Raises:
            DeadlineExceeded: it did not end.
            Exception: whatever it raises.
        """

        async def work() -> T:
            return await make()

        began_s = time.perf_counter()
        future = asyncio.run_coroutine_threadsafe(work(), self._loop)
        try:
            value = future.result(LIMIT_S)
        except TimeoutError:
            if not future.cancel():
                raise
            raise DeadlineExceeded(f"a live call did not end in {LIMIT_S:g} s") from None
        return value, time.perf_counter() - began_s

    def ask(self, request: GenerateRequest | EmbedRequest) -> tuple[Reply | Embeddings, float]:
        """What the model that the request names says; loading it is not in the seconds. Raises ModelError."""
        instance = self._ready.get(request.model) or self._load(request.model)

        async def work() -> Reply | Embeddings:
            if isinstance(request, EmbedRequest):
                return await instance.embed(request)
            return await collect(instance.generate(request))

        return self.call(work)

    def _load(self, name: str) -> ModelInstance:
        async def load() -> ModelInstance:
            found = await self._models.get(name)
            await found.capabilities()  # a local model is read then
            return found

        self._ready[name], _ = self.call(load)
        return self._ready[name]

    def price(self, model: str) -> Price | None:
        """What the model costs, as far as the settings say."""
        return self._models.price(model)
