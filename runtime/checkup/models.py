"""Whether the models that settings name can be used."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

from antiphon.runtime.bus.connect import open_bus
from antiphon.runtime.checkup.verdict import Verdict
from antiphon.runtime.clock import Clock
from antiphon.runtime.errors import ModelUnavailable, UnknownModel
from antiphon.runtime.models.base import ModelInstance
from antiphon.runtime.models.discovery import Endpoint, look
from antiphon.runtime.models.registry import ModelRegistry
from antiphon.runtime.models.setting import BusSetting, OpenAISetting
from antiphon.runtime.models.structured import collect
from antiphon.runtime.settings import Settings
from antiphon.runtime.urls import without_secrets
from antiphon.schemas.inference import GenerateRequest, Role, Sampling, turn

HOSTED_S: Final = 10.0  # for the list of an endpoint that may be far away
_SHOWN: Final = 8  # names of models in a message


async def model(name: str, settings: Settings, clock: Clock, *, deep: bool) -> Sequence[Verdict]:
    """Whether the model is there; ``deep``: whether it says a token.

    Raises:
        AntiphonError: it cannot be reached, loaded or understood; the message says what to do.
    """
    setting = settings.models[name]
    async with AsyncExitStack() as stack:
        bus = None
        if isinstance(setting, BusSetting):
            token = settings.nats_token.get_secret_value() if settings.nats_token is not None else None
            bus = await open_bus(settings.nats_url, token, settings.home, "doctor", settings.durability)
            stack.push_async_callback(bus.close)
        registry = ModelRegistry(settings, bus=bus, clock=clock)
        stack.push_async_callback(registry.close)
        instance = await registry.get(name)
        found = await _listed(setting, settings) if isinstance(setting, OpenAISetting) else await _described(instance)
        if deep:
            found = f"{found}; {await _one_token(name, instance, clock)}"
    return [Verdict(name=f"model {name}", found=found)]


async def _listed(setting: OpenAISetting, settings: Settings) -> str:
    """What the endpoint's list of models says. Raises ModelUnavailable, UnknownModel."""
    key = settings.api_key(setting)
    place = Endpoint(
        provider="", base_url=setting.base_url, list_url=f"{setting.base_url}/models", key_env=setting.api_key_env
    )
    environ = {place.key_env: key.get_secret_value()} if place.key_env and key is not None else {}
    answer = (await look([place], environ, timeout_s=HOSTED_S))[0]
    where = without_secrets(setting.base_url)
    if setting.model in answer.listed or f"{setting.model}:latest" in answer.listed:  # Ollama's short form
        return f"{where} has {setting.model}"
    if answer.listed:
        shown = ", ".join(answer.listed[:_SHOWN]) + (", …" if len(answer.listed) > _SHOWN else "")
        raise UnknownModel(f"{where} has no model {setting.model!r} (it has {shown}): pull or name another")
    if answer.problem.startswith("answers with status"):
        return f"{where} answers but does not list its models; --deep asks for a token"
    raise ModelUnavailable(f"{where}: {answer.problem}; is it running, and is the key right?")


async def _described(instance: ModelInstance) -> str:
    """What the instance says that it can do; a local one is loaded for it."""
    said = await instance.capabilities()
    can = {"structured output": said.structured_output, "tools": said.tools, "embeddings": said.embeddings}
    context = "" if said.context_tokens is None else f"{said.context_tokens} tokens of context, "
    return f"{said.model}: {context}{', '.join(name for name, able in can.items() if able) or 'plain text'}"


async def _one_token(name: str, instance: ModelInstance, clock: Clock) -> str:
    request = GenerateRequest(
        model=name, conversation=(turn(Role.USER, "Say hello."),), sampling=Sampling(max_tokens=1)
    )
    start_s = clock.monotonic_s()
    await collect(instance.generate(request))
    return f"a token took {clock.monotonic_s() - start_s:.1f} s"
