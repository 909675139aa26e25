"""Models by name: from settings to instances, one each in a process."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, assert_never

from antiphon.runtime.bus.base import Bus
from antiphon.runtime.clock import Clock, SystemClock
from antiphon.runtime.errors import ConfigurationError, ModelUnavailable, UnknownModel
from antiphon.runtime.models.base import ModelInstance
from antiphon.runtime.models.price import Price, price_of
from antiphon.runtime.models.setting import BusSetting, LocalSetting, ModelSetting, OpenAISetting
from antiphon.runtime.settings import Settings

if TYPE_CHECKING:
    from antiphon.runtime.models.memory import MemoryBook


class ModelRegistry:
    """Makes an instance when it is first asked for and shares it from then on.

    ``bus``: the connection for models that others serve (None: a process without one). ``instances`` are there from
    the start and win over settings of the same name. ``apart``: local models run in processes of their own, for
    whoever serves them to others; this process then survives their crashes. All are closed by ``close``, those given
    too.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        bus: Bus | None = None,
        instances: Mapping[str, ModelInstance] | None = None,
        clock: Clock | None = None,
        apart: bool = False,
    ) -> None:
        self._apart = apart
        self._settings = settings
        self._bus = bus
        self._clock = clock if clock is not None else SystemClock()
        self._instances: dict[str, ModelInstance] = dict(instances or {})
        self._making = asyncio.Lock()
        self._book: MemoryBook | None = None
        self._closed = False

    @property
    def names(self) -> tuple[str, ...]:
        """Every model that can be asked for."""
        return tuple(sorted({*self._settings.models, *self._instances}))

    async def get(self, name: str) -> ModelInstance:
        """The instance of that name.

        Raises:
            UnknownModel: neither given nor in settings.
            ModelFileError: a local model that was not pulled or cannot be read.
            NotEnoughMemory: a local model that does not fit beside the others.
            ConfigurationError: its key is not set, it is on the bus and there is none, or its units cannot be sold.
            MissingExtra: a local model without the engine installed.
            ModelUnavailable: the registry is closed.
        """
        if self._closed:
            raise ModelUnavailable(f"model {name!r}: this process is shutting down")
        found = self._instances.get(name)
        if found is None:
            setting = self._settings.models.get(name)
            if setting is None:
                raise UnknownModel(
                    f"model {name!r} is unknown, expected one of {', '.join(self.names)}: define it in antiphon.toml, "
                    f'[models] {name} = "http://localhost:11434/v1#llama3.2" or a folder, or in ANTIPHON_MODELS'
                )
            async with self._making:  # the headers of a local model are read in a thread
                found = self._instances.get(name)
                if found is None:
                    found = self._instances[name] = await self._make(name, setting)
        return found

    def price(self, name: str) -> Price | None:
        """What the model of that name costs; None where its setting does not say, or there is none."""
        setting = self._settings.models.get(name)
        return None if setting is None else price_of(setting)

    async def close(self) -> None:
        """Close every instance; one that fails does not keep the others open. Idempotent."""
        self._closed = True
        instances = list(self._instances.values())
        self._instances.clear()
        results = await asyncio.gather(*(instance.close() for instance in instances), return_exceptions=True)
        failed = [result for result in results if isinstance(result, Exception)]
        if failed:
            raise ExceptionGroup("models that did not close", failed)

    async def _make(self, name: str, setting: ModelSetting) -> ModelInstance:
        match setting:
            case LocalSetting():
                return await self._local(name, setting)
            case OpenAISetting():
                from antiphon.runtime.models.openai import OpenAIModel
                from antiphon.runtime.models.tool_prompt import PromptedTools

                model = OpenAIModel(
                    setting.base_url,
                    setting.model,
                    api_key=self._settings.api_key(setting),
                    timeout_s=setting.timeout_s,
                    clock=self._clock,
                )
                return model if setting.tools else PromptedTools(model)
            case BusSetting():
                if self._bus is None:
                    raise ConfigurationError(f"model {name!r} is served on the bus, and this process is on none")
                from antiphon.runtime.models.bus import BusModel

                return BusModel(self._bus, self._settings.tenant, setting.model or name, clock=self._clock)
            case _:
                assert_never(setting)

    async def _local(self, name: str, setting: LocalSetting) -> ModelInstance:
        from antiphon.runtime.models.local_instance import examine, local_instance
        from antiphon.runtime.models.machine import available_memory
        from antiphon.runtime.models.memory import MemoryBook
        from antiphon.runtime.models.process import ProcessModel

        home = self._settings.home
        if self._book is None:
            self._book = MemoryBook(available_memory())
        if not self._apart:
            return await asyncio.to_thread(local_instance, name, setting, home, self._book, self._clock)
        await asyncio.to_thread(examine, name, setting, home, self._book)  # what is wrong is said before it starts
        return ProcessModel(name, setting, home, clock=self._clock)
