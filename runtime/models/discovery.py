"""Which models could be used already: servers that listen on this machine, and endpoints that variables name.

Only loopback addresses and what the environment names are asked. A key goes to the address that was named with it and
nowhere else, and only the name of its variable leaves this module.
"""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.models.pull import folder_of
from antiphon.runtime.models.setting import LocalSetting, ModelSetting, OpenAISetting
from antiphon.runtime.settings import BUILT_IN_MODEL
from antiphon.runtime.urls import without_secrets

ASK_S: Final = 1.5  # for one endpoint, everything included; a server on this machine answers in milliseconds
_MOST_BYTES: Final = 1 << 20  # of a list of models: a hosted one with 500 has a quarter of that
_MOST_MODELS: Final = 50  # of one endpoint that are offered
_OLLAMA_PORT: Final = 11434
# The ports that these servers take when nobody says otherwise.
_LOCAL: Final = (("vllm", 8000), ("lmstudio", 1234), ("llamacpp", 8080))
# Hosted endpoints that take a JSON schema for a reply, and a model to begin with (structured output, small, cheap).
_HOSTED: Final = (
    ("openai", "OPENAI_API_KEY", "https://api.openai.com/v1", "gpt-4.1-mini"),
    ("openrouter", "OPENROUTER_API_KEY", "https://openrouter.ai/api/v1", "openai/gpt-4.1-mini"),
)
_FORM: Final = re.compile(r"https?://.+#.+|hf:.+|bus|\.{0,2}/.+|~/.+")  # what only a settings form looks like


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where models may be. ``list_url`` says which there are; empty: it is not asked, ``models`` is a suggestion."""

    provider: str
    base_url: str
    list_url: str = ""
    key_env: str | None = None
    models: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether it is one of the ports of this machine, which no proxy leads to and which costs nothing."""
        return re.match(r"http://(127\.0\.0\.1|localhost|\[::1\])[:/]", self.base_url) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an endpoint said: models that generate text, or why there are none. ``listed`` has the others too."""

    endpoint: Endpoint
    models: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A model that can be chosen: ``label`` is what a person types, ``where`` tells them what it is."""

    label: str
    where: str
    setting: ModelSetting


def endpoints(environ: Mapping[str, str]) -> tuple[Endpoint, ...]:
    """Where to look, given these variables. Pure."""
    found = [ollama(environ.get("OLLAMA_HOST", ""))]
    for provider, port in _LOCAL:
        base = f"http://127.0.0.1:{port}/v1"
        found.append(Endpoint(provider=provider, base_url=base, list_url=f"{base}/models"))
    for provider, variable, own, model in _HOSTED:
        named = environ.get(variable.replace("_API_KEY", "_BASE_URL"), "").strip().rstrip("/")
        key = variable if environ.get(variable) else None
        if named.startswith(("http://", "https://")):
            found.append(Endpoint(provider=provider, base_url=named, list_url=f"{named}/models", key_env=key))
        elif key is not None:
            found.append(Endpoint(provider=provider, base_url=own, key_env=key, models=(model,)))
    return tuple(found)


def ollama(host: str) -> Endpoint:
    """Ollama as its own client finds it: ``OLLAMA_HOST`` is a host, a port, both, or a URL; 0.0.0.0 is this machine."""
    scheme, separator, rest = host.strip().strip("\"'").rpartition("://")
    address, slash, path = rest.partition("/")
    split = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?", address)
    name, port = (split[1], split[2]) if split else ("", None)
    standard = {"http": 80, "https": 443}.get(scheme, _OLLAMA_PORT) if separator else _OLLAMA_PORT
    name = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(name, name)
    tail = f"/{path.strip('/')}" if slash and path.strip("/") else ""
    root = f"{scheme if scheme == 'https' else 'http'}://{name}:{port or standard}{tail}"
    return Endpoint(provider="ollama", base_url=f"{root}/v1", list_url=f"{root}/api/tags")


async def look(places: Sequence[Endpoint], environ: Mapping[str, str], *, timeout_s: float = ASK_S) -> list[Answer]:
    """What is at each of ``places``, in their order; all are asked together, each has ``timeout_s``. Never raises."""
    return list(await asyncio.gather(*(_ask(place, environ, timeout_s) for place in places)))


def models_of(listing: object) -> dict[str, bool]:
    """The models of an Ollama listing or an OpenAI one, and of each whether it generates text. Pure.

    Raises:
        ValueError: it is neither.
    """
    cards = listing.get("data", listing.get("models")) if isinstance(listing, Mapping) else None
    if not isinstance(cards, list):
        raise ValueError("no list of models")
    named = {_name(card): not _embeds(card) for card in cards if isinstance(card, Mapping)}
    named.pop("", None)
    return named


def offers(answers: Sequence[Answer], *, engine: bool) -> list[Offer]:
    """What can be chosen, best first: servers that run, the built-in model, then what a key pays for. Pure.

    ``engine``: whether this installation can run the built-in model; one that cannot offers it last.
    """
    here: list[Offer] = []
    away: list[Offer] = []
    for answer in answers:
        place = answer.endpoint
        for model in answer.models[:_MOST_MODELS]:
            where = without_secrets(place.base_url) + (f", key from {place.key_env}" if place.key_env else "")
            setting = OpenAISetting(base_url=place.base_url, model=model, api_key_env=place.key_env)
            offer = Offer(label=f"{place.provider}/{model}", where=where, setting=setting)
            (here if place.is_local or place.key_env is None else away).append(offer)
    kind = "small, runs in this process" if engine else "needs pip install 'antiphon[engine]'"
    built_in = Offer(label=BUILT_IN_MODEL, where=f"built in: {kind}", setting=LocalSetting(path=BUILT_IN_MODEL))
    return [*here, built_in, *away] if engine else [*here, *away, built_in]


def chosen(text: str, available: Sequence[Offer]) -> Offer:
    """The offer that ``text`` names: a label, its provider alone, ``PROVIDER/MODEL``, or a form of the settings file.

    Raises:
        ConfigurationError: it is none of them.
        UnknownModel: it begins with ``hf:`` and goes on with something else than ``ORG/NAME``.
    """
    provider, _, model = text.partition("/")
    for offer in available:
        if text in (offer.label, offer.label.partition("/")[0]):
            return offer
    for offer in available:
        if model and isinstance(offer.setting, OpenAISetting) and offer.label.startswith(f"{provider}/"):
            setting = offer.setting.model_copy(update={"model": model})
            return Offer(label=text, where=offer.where, setting=setting)
    if _FORM.fullmatch(text):
        try:
            given: ModelSetting = TypeAdapter(ModelSetting).validate_python(text)
        except ValidationError as error:
            raise ConfigurationError(f"model {text!r}: {error.errors(include_url=False)[0]['msg']}") from None
        if text.startswith("hf:"):
            folder_of(text, Path())
        return Offer(label=text, where="as given", setting=given)
    labels = ", ".join(offer.label for offer in available)
    raise ConfigurationError(
        f"model {text!r} is none of those found ({labels}): expected one of them, "
        "URL#MODEL, hf:ORG/NAME, or a path such as ./model.gguf"
    )


async def _ask(place: Endpoint, environ: Mapping[str, str], timeout_s: float) -> Answer:
    if not place.list_url:
        return Answer(endpoint=place, models=place.models)
    if not _is_address(place.list_url):
        return Answer(endpoint=place, problem="is no address")
    import httpx

    key = environ.get(place.key_env, "") if place.key_env else ""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    secure = place.list_url.startswith("https")  # loading certificates takes 30 ms, for http they are not needed
    try:
        async with (
            asyncio.timeout(timeout_s),
            httpx.AsyncClient(trust_env=not place.is_local, verify=secure, timeout=timeout_s) as client,
            client.stream("GET", place.list_url, headers=headers) as response,
        ):
            if response.status_code in (401, 403):
                return Answer(endpoint=place, problem="asks for a key")
            if response.status_code != 200:
                return Answer(endpoint=place, problem=f"answers with status {response.status_code}")
            listing: Any = json.loads(await _body(response))
        found = models_of(listing)
    except (httpx.ConnectError, httpx.ConnectTimeout):
        return Answer(endpoint=place, problem="nobody there")
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
        return Answer(endpoint=place, problem=f"no answer in {timeout_s:g} s, or not of a model server")
    except OSError as error:  # of the certificates that a variable names, above all
        return Answer(endpoint=place, problem=f"cannot be asked: {error.strerror or error}")
    except (ValueError, RecursionError):  # of the JSON too, whatever is wrong with it
        return Answer(endpoint=place, problem="another kind of server")
    models = tuple(name for name, generates in found.items() if generates)
    problem = "" if models else "has no model that generates text"
    return Answer(endpoint=place, models=models, listed=tuple(found), problem=problem)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0  # reading the port raises above 65535
    except ValueError:
        return False


async def _body(response: Any) -> bytes:
    """Raises ValueError when it is longer than a list of models is."""
    received = bytearray()
    async for piece in response.aiter_bytes():
        received += piece
        if len(received) > _MOST_BYTES:
            raise ValueError("too long")
    return bytes(received)


def _name(card: Mapping[str, Any]) -> str:
    """As it is sent in requests; empty for what cannot be one: it is printed, and written to a file."""
    found = card.get("id", card.get("name"))
    return found if isinstance(found, str) and len(found) <= 200 and found.isprintable() else ""


def _embeds(card: Mapping[str, Any]) -> bool:
    """Whether it makes vectors and no text, by its family (Ollama) or its name."""
    details = card.get("details")
    family = details.get("family") if isinstance(details, Mapping) else None
    return (isinstance(family, str) and family.endswith("bert")) or "embed" in _name(card)
