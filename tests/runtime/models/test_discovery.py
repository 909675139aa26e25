"""Models that are found: where is looked, what counts as one, and which is offered first."""

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.models.discovery import (
    Answer,
    Endpoint,
    Offer,
    chosen,
    endpoints,
    look,
    models_of,
    offers,
    ollama,
)
from antiphon.runtime.models.setting import LocalSetting, OpenAISetting

if TYPE_CHECKING:
    from tests.runtime.models.conftest import RawServer

TAGS = {
    "models": [
        {"name": "llama3.2:latest", "details": {"family": "llama"}},
        {"name": "all-minilm:latest", "details": {"family": "bert"}},
        {"name": "nomic-embed-text:latest", "details": {"family": "nomic-bert"}},
        {"name": "qwen3:0.6b", "details": {"family": "qwen3"}},
    ]
}


@pytest.mark.parametrize(
    ("host", "base"),
    [
        ("", "http://127.0.0.1:11434/v1"),
        ("0.0.0.0", "http://127.0.0.1:11434/v1"),
        ("0.0.0.0:9", "http://127.0.0.1:9/v1"),
        (":56789", "http://127.0.0.1:56789/v1"),
        ("gpu-box", "http://gpu-box:11434/v1"),
        ("gpu-box:80", "http://gpu-box:80/v1"),
        ("http://gpu-box", "http://gpu-box:80/v1"),
        ("https://models.example.org/ollama/", "https://models.example.org:443/ollama/v1"),
        (" '[::1]:8080' ", "http://[::1]:8080/v1"),
        ("[::]", "http://[::1]:11434/v1"),
        ("what:is:this", "http://127.0.0.1:11434/v1"),
    ],
)
def test_ollama_is_where_its_own_client_looks(host: str, base: str) -> None:
    """OLLAMA_HOST as a host, a port, both or a URL; an address to listen on is not one to call."""
    found = ollama(host)
    assert found.base_url == base
    assert found.list_url == base.removesuffix("/v1") + "/api/tags"


def test_only_this_machine_and_what_variables_name_is_asked() -> None:
    """A provider's own address is offered for its key but not asked; one that a variable names is."""
    plain = endpoints({})
    assert [each.provider for each in plain] == ["ollama", "vllm", "lmstudio", "llamacpp"]
    assert all(each.is_local and each.list_url.startswith("http://127.0.0.1:") for each in plain)
    keyed = endpoints({"OPENAI_API_KEY": "sk-1", "OPENROUTER_API_KEY": ""})[4:]
    assert [(each.provider, each.list_url, each.key_env) for each in keyed] == [("openai", "", "OPENAI_API_KEY")]
    named = endpoints({"OPENAI_BASE_URL": "http://10.0.0.7:8000/v1/"})[4:]
    assert [(each.base_url, each.list_url, each.key_env) for each in named] == [
        ("http://10.0.0.7:8000/v1", "http://10.0.0.7:8000/v1/models", None)
    ]
    assert not named[0].is_local


def test_models_that_make_vectors_are_told_apart() -> None:
    """By family where Ollama says it, by name elsewhere."""
    assert [name for name, generates in models_of(TAGS).items() if generates] == ["llama3.2:latest", "qwen3:0.6b"]
    listing = {
        "object": "list",
        "data": [{"id": "Qwen/Qwen3-8B"}, {"id": "text-embedding-nomic"}, {"id": "a"}, {"id": "a"}],
    }
    assert models_of(listing) == {"Qwen/Qwen3-8B": True, "text-embedding-nomic": False, "a": True}


@pytest.mark.parametrize("name", [7, "", None, "x" * 201, "a\x1b[31m", "two\nlines"])
def test_a_name_that_cannot_be_printed_or_written_is_no_model(name: object) -> None:
    """What a server says is printed in a terminal and written to a settings file."""
    assert models_of({"data": [{"id": name}, "text", {}]}) == {}


@pytest.mark.parametrize("listing", [[], "text", None, {}, {"data": {}}, {"models": "none"}])
def test_what_is_no_listing_is_told(listing: object) -> None:
    """Another kind of server may listen on the port."""
    with pytest.raises(ValueError, match="no list of models"):
        models_of(listing)


def test_what_costs_nothing_is_offered_first() -> None:
    """Servers that run, then the built-in model if it can run here, then what a key pays for."""
    here = Answer(endpoint=ollama(""), models=("llama3.2",))
    away = Answer(endpoint=endpoints({"OPENAI_API_KEY": "sk-1"})[4], models=("gpt",))
    silent = Answer(endpoint=ollama(""), problem="nobody there")
    with_engine = [each.label for each in offers([away, silent, here], engine=True)]
    without = [each.label for each in offers([away, silent, here], engine=False)]
    assert with_engine == ["ollama/llama3.2", "smollm2-135m", "openai/gpt"]
    assert without == ["ollama/llama3.2", "openai/gpt", "smollm2-135m"]


def test_the_value_of_a_key_goes_nowhere() -> None:
    """An offer names the variable."""
    environ = {"OPENAI_API_KEY": "sk-secret"}
    answer = asyncio.run(look(endpoints(environ)[4:], environ))[0]
    offer = offers([answer], engine=False)[0]
    assert isinstance(offer.setting, OpenAISetting)
    assert offer.setting.api_key_env == "OPENAI_API_KEY"
    assert "sk-secret" not in repr((answer, offer))


OFFERS: list[Offer] = offers(
    [
        Answer(endpoint=ollama(""), models=("llama3.2", "qwen3")),
        Answer(endpoint=endpoints({"OPENAI_API_KEY": "sk-1"})[4], models=("gpt-4.1-mini",)),
    ],
    engine=True,
)


@pytest.mark.parametrize(
    ("text", "label", "setting"),
    [
        ("ollama/qwen3", "ollama/qwen3", OpenAISetting(base_url="http://127.0.0.1:11434/v1", model="qwen3")),
        ("ollama", "ollama/llama3.2", OpenAISetting(base_url="http://127.0.0.1:11434/v1", model="llama3.2")),
        (
            "openai/gpt-5/x",
            "openai/gpt-5/x",
            OpenAISetting(base_url="https://api.openai.com/v1", model="gpt-5/x", api_key_env="OPENAI_API_KEY"),
        ),
        ("smollm2-135m", "smollm2-135m", LocalSetting(path="smollm2-135m")),
        ("http://h:1/v1#m", "http://h:1/v1#m", OpenAISetting(base_url="http://h:1/v1", model="m")),
        ("./model.gguf", "./model.gguf", LocalSetting(path="./model.gguf")),
        ("hf:ORG/NAME", "hf:ORG/NAME", LocalSetting(path="hf:ORG/NAME")),
    ],
)
def test_a_model_is_chosen_by_label_provider_or_settings_form(text: str, label: str, setting: object) -> None:
    """A provider that was found takes any model name; what was not found is given as the settings file has it."""
    found = chosen(text, OFFERS)
    assert (found.label, found.setting) == (label, setting)


@pytest.mark.parametrize("text", ["gpt", "vllm/qwen", "", "http://h:1/v1", "https://:1/v1#m"])
def test_a_model_that_nobody_has_is_an_error_with_those_there_are(text: str) -> None:
    """What was found, what was expected."""
    with pytest.raises(ConfigurationError, match=r"is none of those found \(ollama/llama3\.2, |expected http"):
        chosen(text, OFFERS)


def place(url: str, provider: str = "vllm") -> Endpoint:
    """An endpoint whose list is at ``url``."""
    return Endpoint(provider=provider, base_url=url.rpartition("/")[0], list_url=url, key_env="THE_KEY")


async def test_a_server_says_what_it_has(raw: "RawServer") -> None:
    """The key of the endpoint goes with the question."""
    raw.answer(200, json.dumps(TAGS))
    found = await look([place(f"{raw.url}/models")], {"THE_KEY": "k"})
    assert len(found[0].listed) == 4
    assert [(each.models, each.problem) for each in found] == [(("llama3.2:latest", "qwen3:0.6b"), "")]
    assert b"GET /v1/models " in raw.received[0]
    assert b"Authorization: Bearer k\r\n" in raw.received[0]


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (401, "{}", "asks for a key"),
        (404, "not found", "answers with status 404"),
        (302, "", "answers with status 302"),
        (200, "<html>", "another kind of server"),
        (200, "[" * 100_000, "another kind of server"),
        (200, " " * (1 << 20) + "{}", "another kind of server"),
        (200, '{"data": []}', "has no model that generates text"),
    ],
)
async def test_another_server_on_the_port_is_no_model(raw: "RawServer", status: int, body: str, problem: str) -> None:
    """Whatever it says: the reason is told, nothing is raised and no redirect is followed."""
    raw.answer(status, body, Location="http://example.invalid/")
    assert (await look([place(f"{raw.url}/models")], {}))[0].problem == problem


async def test_a_server_that_hangs_holds_up_nobody_for_long(raw: "RawServer") -> None:
    """All are asked together, and each has its time; an address that is none is only no model."""
    raw.stream(b'{"data": [', then=asyncio.Event())
    places = [place(f"{raw.url}/models")] * 3
    odd = [place(url) for url in ("http://127.0.0.1:99999/v1/models", "http://127.0.0.1:1/models")]
    async with asyncio.timeout(60):
        found = await look(places + odd, {}, timeout_s=0.2)
    assert [each.models for each in found] == [()] * 5
    assert [each.problem for each in found[:3]] == ["no answer in 0.2 s, or not of a model server"] * 3
    assert [each.problem for each in found[3:]] == ["is no address", "nobody there"]


async def test_a_key_that_cannot_be_sent_is_no_model(raw: "RawServer") -> None:
    """A header takes no such characters; nothing is raised."""
    raw.answer(200, json.dumps(TAGS))
    assert (await look([place(f"{raw.url}/models")], {"THE_KEY": "ключ"}))[0].problem == "another kind of server"


async def test_certificates_that_are_not_there_are_a_problem_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a variable names them that was set for something else."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nothing/here.pem")
    (answer,) = await look([place("https://127.0.0.1:1")], {})
    assert answer.problem
