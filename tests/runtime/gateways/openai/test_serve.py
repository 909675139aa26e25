"""From settings to a gateway that listens."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import openai
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from antiphon import Agent, System
from antiphon.runtime.errors import ConfigurationError, ModelUnavailable, UnknownModel
from antiphon.runtime.gateways.openai.serve import open_gateway
from antiphon.runtime.host import Host
from antiphon.runtime.models.scripted import ScriptedModel
from antiphon.runtime.settings import Settings
from antiphon.runtime.testing import memory_cluster
from antiphon.schemas.inference import Capabilities

HERE = "127.0.0.1"


class Away(ScriptedModel):
    """A model on another machine that nobody has started."""

    async def capabilities(self) -> Capabilities:
        """Not now."""
        raise ModelUnavailable("nobody serves it")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home without models."""
    return Settings(home=tmp_path)


@pytest.fixture
async def host(settings: Settings) -> AsyncIterator[Host]:
    """A process that has two models of its own."""
    models = {"near": ScriptedModel(["hello"], context_tokens=99), "away": Away(["hello"])}
    async with memory_cluster(System("s", agents=[Agent("idle")]), models=models, settings=settings) as cluster:
        yield cluster.client.host


async def test_named_models_are_served(settings: Settings, host: Host) -> None:
    """With the console's token and what their contexts hold; one that is not there yet may come."""
    async with open_gateway(settings, host, ["near", "away"], address=HERE, port=0) as gateway:
        assert (gateway.models, gateway.example) == (("near", "away"), "near")
        assert gateway.token == (settings.home / "console.token").read_text()
        assert f"OPENAI_BASE_URL={gateway.url} OPENAI_API_KEY={gateway.token}" in gateway.how_to()
        async with openai.AsyncOpenAI(base_url=gateway.url, api_key=gateway.token, max_retries=0) as client:
            found = [(model.id, getattr(model, "max_model_len", None)) async for model in client.models.list()]
            assert found == [("near", 99), ("away", None)]
            reply = await client.completions.create(model="near", prompt="x")
            assert reply.choices[0].text == "hello"
    async with httpx.AsyncClient() as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(f"{gateway.url}/models")


async def test_all_models_that_can_be_are_served(settings: Settings, host: Host) -> None:
    """Those that were not pulled are left out, and it is said."""
    with capture_logs() as logs:
        async with open_gateway(settings, host, [], address=HERE, port=0) as gateway:
            assert set(gateway.models) == {"near", "away"}
    assert {log["model"] for log in logs if log["event"] == "model_not_served"} == {"all-minilm-l6-v2", "smollm2-135m"}


async def test_a_model_that_was_named_must_be_there(settings: Settings, host: Host) -> None:
    """Its absence is no surprise for the first caller."""
    with pytest.raises(UnknownModel, match="gpt-9"):
        async with open_gateway(settings, host, ["near", "gpt-9"], address=HERE, port=0):
            pass


async def test_a_gateway_needs_a_model(settings: Settings, tmp_path: Path) -> None:
    """Else it would refuse everybody."""
    async with memory_cluster(System("s", agents=[Agent("idle")]), models={}, settings=settings) as cluster:
        with pytest.raises(ConfigurationError, match="antiphon models pull"):
            async with open_gateway(settings, cluster.client.host, [], address=HERE, port=0):
                pass


async def test_tokens_of_the_door_open_it_too(settings: Settings, host: Host) -> None:
    """Then the console's does not, and none is shown."""
    named = settings.model_copy(update={"http_tokens": {"web": SecretStr("web-0123456789abcdef")}})
    async with open_gateway(named, host, ["near"], address=HERE, port=0) as gateway, httpx.AsyncClient() as http:
        assert gateway.token is None and "one of http_tokens" in gateway.how_to()
        for token, status in (("web-0123456789abcdef", 200), ("wrong", 401)):
            answer = await http.get(f"{gateway.url}/models", headers={"authorization": f"Bearer {token}"})
            assert answer.status_code == status
    assert not (settings.home / "console.token").exists()


async def test_an_address_that_cannot_be_used(settings: Settings, host: Host) -> None:
    """The message names it."""
    with pytest.raises(ConfigurationError, match=r"OpenAI gateway port 1 on 192\.0\.2\.1 cannot be used"):
        async with open_gateway(settings, host, ["near"], address="192.0.2.1", port=1):
            pass
