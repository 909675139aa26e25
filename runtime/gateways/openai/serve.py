"""What ``antiphon serve --openai`` runs: models of the settings behind a gateway, in this process."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from pydantic import SecretStr

from antiphon.runtime.console.access import OWNER
from antiphon.runtime.errors import AntiphonError, ConfigurationError, ModelUnavailable
from antiphon.runtime.gateways.openai.app import Gateway
from antiphon.runtime.gateways.openai.served import ServedModel
from antiphon.runtime.host import Host
from antiphon.runtime.listening import listen
from antiphon.runtime.models.registry import ModelRegistry
from antiphon.runtime.observatory import console_token
from antiphon.runtime.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenGateway:
    """A gateway that is being served. ``token`` is one that may be shown: the console's, or None."""

    url: str
    models: tuple[str, ...]
    example: str
    token: str | None

    def how_to(self) -> str:
        """What a person can try, to paste into a shell."""
        token = self.token or "$TOKEN"
        known = "" if self.token else " (TOKEN: one of http_tokens)"
        body = f'{{"model": "{self.example}", "messages": [{{"role": "user", "content": "Say hello."}}]}}'
        return (
            f"OpenAI API: {self.url} serves {', '.join(self.models)}{known}\n"
            f"  curl {self.url}/chat/completions -H \"Authorization: Bearer {token}\" --json '{body}'\n"
            f"  export OPENAI_BASE_URL={self.url} OPENAI_API_KEY={token}"
        )


@asynccontextmanager
async def open_gateway(
    settings: Settings, host: Host, names: Sequence[str], *, address: str, port: int
) -> AsyncGenerator[OpenGateway, None]:
    """Serve the models of these names, or all that can be, until the body ends (port 0: any free one).

    Raises:
        ModelError, ConfigurationError, MissingExtra: a model that was named cannot be had, or there is none.
        ConfigurationError: the address is not this machine's, or the port is taken.
    """
    models = [await _named(host.models, name) for name in names] if names else await _all(host.models)
    token = None if settings.http_tokens else console_token(settings.home)
    tokens = settings.http_tokens if token is None else {OWNER: SecretStr(token)}
    gateway = Gateway(
        models, tokens, clock=host.clock, max_body=host.max_body, tenants={} if token is None else {OWNER: host.tenant}
    )
    listening = await listen(gateway.app, address, port, name="OpenAI gateway")
    served = tuple(model.name for model in models)
    example = settings.default_model if settings.default_model in served else served[0]
    try:
        yield OpenGateway(url=f"{listening.address}v1", models=served, example=example, token=token)
    finally:
        gateway.close()
        await listening.stop()


async def _named(registry: ModelRegistry, name: str) -> ServedModel:
    """A model that was asked for: it is loaded now, so that its first caller need not wait for that."""
    instance = await registry.get(name)
    try:
        context_tokens = (await instance.capabilities()).context_tokens
    except ModelUnavailable as error:  # it may come
        log.warning("model_not_there_yet", model=name, error=error.message)
        context_tokens = None
    return ServedModel(name=name, instance=instance, context_tokens=context_tokens)


async def _all(registry: ModelRegistry) -> list[ServedModel]:
    """Every model that could be loaded; each is when its first caller comes."""
    found: list[ServedModel] = []
    for name in registry.names:
        try:
            found.append(ServedModel(name=name, instance=await registry.get(name)))
        except AntiphonError as error:
            log.warning("model_not_served", model=name, error=error.message)
    if not found:
        raise ConfigurationError("no model of the settings can be served (see above): antiphon models pull NAME")
    return found
