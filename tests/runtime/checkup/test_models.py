"""What is said of models: there, not there, or there but without the one that is named."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from antiphon.runtime.checkup.models import model
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.errors import AntiphonError, ConfigurationError, ModelFileError, ModelUnavailable, UnknownModel
from antiphon.runtime.models.setting import LocalSetting, OpenAISetting
from antiphon.runtime.settings import Settings, load_settings

LIST = {"data": [{"id": "llama3.2:latest"}, {"id": "nomic-embed-text:latest"}]}
CHUNK = {"choices": [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": "stop"}]}
REPLY = f"data: {json.dumps(CHUNK)}\n\ndata: [DONE]\n\n"


@pytest.fixture
async def url() -> AsyncGenerator[str, None]:
    """An endpoint that lists two models and says hello; below /none it lists nothing."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        status, body = 200, json.dumps(LIST) if head.startswith(b"GET") else REPLY
        if b" /none/models" in head:
            status, body = 404, ""
        if b"Bearer wrong" in head:
            status, body = 401, ""
        writer.write(f"HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def said(home: Path, setting: OpenAISetting | LocalSetting, *, deep: bool = False) -> str:
    """The verdict on one model."""
    settings = Settings(home=home, models={"m": setting})
    (verdict,) = await model("m", settings, SystemClock(), deep=deep)
    assert verdict.name == "model m"
    return verdict.found


async def test_an_endpoint_must_have_the_model(tmp_path: Path, url: str) -> None:
    """Ollama's short name counts, and one that makes vectors is one too."""
    assert await said(tmp_path, OpenAISetting(base_url=f"{url}/v1", model="llama3.2")) == f"{url}/v1 has llama3.2"
    assert "has nomic" in await said(tmp_path, OpenAISetting(base_url=f"{url}/v1", model="nomic-embed-text"))
    with pytest.raises(
        UnknownModel, match=r"has no model 'other' \(it has llama3\.2:latest, nomic-embed-text:latest\)"
    ):
        await said(tmp_path, OpenAISetting(base_url=f"{url}/v1", model="other"))


async def test_deep_asks_for_a_token(tmp_path: Path, url: str) -> None:
    """Which also works where models are not listed."""
    found = await said(tmp_path, OpenAISetting(base_url=f"{url}/none", model="any"), deep=True)
    assert found.startswith(f"{url}/none answers but does not list its models")
    assert "; a token took 0." in found


async def test_a_key_that_is_wrong_or_missing_is_told(tmp_path: Path, url: str) -> None:
    """The one by the endpoint, the other by the settings; the key itself is in no message."""
    (tmp_path / "antiphon.toml").write_text(
        f'[models.m]\nkind = "openai"\nbase_url = "{url}/v1"\nmodel = "llama3.2"\napi_key_env = "MY_KEY"\n'
    )
    environ = {"ANTIPHON_HOME": str(tmp_path)}
    wrong = load_settings({**environ, "MY_KEY": "wrong"}, tmp_path)
    with pytest.raises(ModelUnavailable, match="asks for a key; is it running, and is the key right"):
        await model("m", wrong, SystemClock(), deep=False)
    with pytest.raises(ConfigurationError, match="MY_KEY, which is not set"):
        await model("m", load_settings(environ, tmp_path), SystemClock(), deep=False)


@pytest.mark.parametrize(
    ("setting", "error", "says"),
    [
        (
            OpenAISetting(base_url="http://ada:x@127.0.0.1:1/v1", model="m"),
            ModelUnavailable,
            "^http://127.0.0.1:1/v1: nobody",
        ),
        (LocalSetting(path="smollm2-135m"), ModelFileError, "antiphon models pull smollm2-135m"),
        (LocalSetting(path="/no/such/file.gguf"), ModelFileError, "where nothing is"),
    ],
)
async def test_what_is_not_there_is_told(
    tmp_path: Path, setting: OpenAISetting | LocalSetting, error: type[AntiphonError], says: str
) -> None:
    """With what to do."""
    with pytest.raises(error, match=says):
        await said(tmp_path, setting)


async def test_a_local_model_is_loaded_and_says_a_token(tmp_path: Path, models_home: Path) -> None:
    """The built-in one."""
    (tmp_path / "models").symlink_to(models_home)
    found = await said(tmp_path, LocalSetting(path="smollm2-135m"), deep=True)
    assert "8192 tokens of context, structured output" in found
    assert "; a token took " in found
