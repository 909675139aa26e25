"""Everything a user can set, and the one place that reads the environment.

Order: ``ANTIPHON_*`` variables, then ``antiphon.toml`` in the working directory (else in the home folder), then the
defaults below. A file's keys are the field names; a variable's name is ``ANTIPHON_`` and the field name. Unknown keys
in the file are errors; unknown variables are not, because container platforms invent them (``ANTIPHON_PORT`` for a
service called antiphon).

Plain pydantic: the environment is an argument, errors name the variable or key, and nothing heavy is imported
(pydantic-settings would add 0.2 s to every start; seen).
"""

import json
import os
import re
import tomllib
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, PrivateAttr, SecretStr, TypeAdapter, ValidationError, field_validator

from antiphon.runtime.bus.durability import Durability
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.models.setting import FORMS, ModelName, ModelSetting, OpenAISetting, anchored
from antiphon.runtime.passwords import FORM
from antiphon.schemas.identity import check_name
from antiphon.schemas.message import Value

PREFIX: Final = "ANTIPHON_"
FILE: Final = "antiphon.toml"
BUILT_IN_MODEL: Final = "smollm2-135m"
SHORTEST_TOKEN: Final = 16  # characters

_PATHS: Final = ("home", "console_cert", "console_key")
_AS_JSON: Final = ("console_names", "console_passwords", "console_proxies", "http_tokens", "http_origins")
_SECRET: Final = ("nats_token", "knowledge_token", "http_tokens", "console_passwords")

CallerName = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,64}$")]
BUILT_IN_MODELS: Final = (BUILT_IN_MODEL, "all-minilm-l6-v2")


class Settings(Value):
    """What a process is told. Each description is the accepted form and, after the colon, the meaning."""

    home: Path = Field(description="a folder: where models, the embedded server's data and the trace store lie")
    nats_url: str | None = Field(
        default=None,
        pattern=r"^(nats|tls|ws|wss)://[^\s/]",
        description="nats://HOST:PORT (or tls, ws, wss): the server to use; without it, an embedded one",
    )
    nats_token: SecretStr | None = Field(default=None, description="text: the token of that server")
    durability: Durability = Field(
        default="fast", description="fast, safe or strict: what a confirmed append survives (docs/durability.md)"
    )
    tenant: str = Field(default="default", description="1 to 64 characters of a-z, 0-9, _ and -: whose subjects to use")
    trace: float = Field(default=1.0, ge=0, le=1, description="a number from 0 to 1: the share of runs that are traced")
    capture_content: bool = Field(default=False, description="true or false: keep prompts and replies in traces")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error: the least that is logged"
    )
    console_host: str = Field(default="127.0.0.1", min_length=1, description="an address: where the console listens")
    console_port: int = Field(
        default=8484, ge=0, le=65535, description="a whole number from 0 to 65535: the console's port (0: any free one)"
    )
    console_names: tuple[Annotated[str, Field(pattern=r"^([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])$")], ...] = Field(
        default=(), description="a list of names such as console.example.org: under which the console is opened"
    )
    console_cert: Path | None = Field(
        default=None, description="a PEM file: the console's certificate, with which it speaks TLS"
    )
    console_key: Path | None = Field(
        default=None, description="a PEM file: the certificate's private key, if it is in a file of its own"
    )
    console_passwords: dict[CallerName, SecretStr] = Field(
        default_factory=dict,
        description="what `antiphon password` prints, by person (a-z, 0-9, _ and -; not owner: that is whoever has the "
        "token): who may sign in to the console",
    )
    console_proxy_header: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="a header such as X-Forwarded-User: in which a web server before the console says who somebody is",
    )
    console_proxies: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(IPv4Network("127.0.0.1"), IPv6Network("::1")),
        description="a list of addresses or networks such as 10.0.0.5 or 10.0.0.0/24: from which that server connects",
    )
    http_tokens: dict[CallerName, SecretStr] = Field(
        default_factory=dict,
        description="tokens of 16 characters or more by caller (a-z, 0-9, _ and -): who may use the HTTP door",
    )
    http_origins: tuple[Annotated[str, Field(pattern=r"^https?://[^\s/,*]+$")], ...] = Field(
        default=(), description="a list of origins such as https://app.example.org: pages that may use the HTTP door"
    )
    retention_days: float = Field(default=14.0, gt=0, description="a number above 0: days that traces are kept")
    retention_mb: int = Field(default=1024, ge=16, description="a whole number from 16: megabytes of traces kept")
    max_body_mb: int = Field(
        default=64, ge=1, description="a whole number from 1: megabytes that the body of one message may have"
    )
    result_ttl_s: int = Field(
        default=86_400, ge=1, description="a whole number from 1: seconds that the outcome of a task is kept"
    )
    replay_window_s: int = Field(
        default=3600, ge=1, description="a whole number from 1: seconds that finished work stays readable on the bus"
    )
    knowledge_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s/]",
        description="http(s)://HOST:PORT: the Qdrant server with the libraries of knowledge agents; without it, files",
    )
    knowledge_token: SecretStr | None = Field(default=None, description="text: the key of that server")
    trace_shards: int = Field(
        default=1, ge=1, le=64, description="a whole number from 1 to 64: parts of the traces that replicas share out"
    )
    apply: Literal["suggest", "canary", "on"] = Field(
        default="suggest",
        description="suggest, canary or on: how far the logging agent may take proven remedies by itself",
    )
    system: str | None = Field(
        default=None,
        description="FILE.py:NAME or package.module:NAME: the code that replay and try-model take without --system",
    )
    default_model: ModelName = Field(
        default=BUILT_IN_MODEL, description="a name of a-z, 0-9, _ and -: the model of agents that name none"
    )
    models: dict[ModelName, ModelSetting] = Field(
        default_factory=dict,
        validate_default=True,
        description=f"models by name (a-z, 0-9, _ and -), each {FORMS}",
    )
    _keys: dict[str, SecretStr] = PrivateAttr(default_factory=dict)

    @field_validator("tenant")
    @classmethod
    def _tenant(cls, tenant: str) -> str:
        return check_name("tenant", tenant)

    @field_validator("console_passwords")
    @classmethod
    def _console_passwords(cls, passwords: dict[str, SecretStr]) -> dict[str, SecretStr]:
        if "owner" in passwords or not all(re.fullmatch(FORM, kept.get_secret_value()) for kept in passwords.values()):
            raise ValueError("the owner, or a password as people type it")
        return passwords

    @field_validator("http_tokens")
    @classmethod
    def _http_tokens(cls, tokens: dict[str, SecretStr]) -> dict[str, SecretStr]:
        if any(len(token) < SHORTEST_TOKEN for token in tokens.values()) or len(set(tokens.values())) < len(tokens):
            raise ValueError("a token that is too short, or that two callers share")
        return tokens

    @field_validator("models", mode="before")
    @classmethod
    def _built_in(cls, models: object) -> object:
        """The built-in models are there even when others are named."""
        return {**{name: name for name in BUILT_IN_MODELS}, **models} if isinstance(models, Mapping) else models

    @property
    def models_dir(self) -> Path:
        """Where pulled models lie."""
        return self.home / "models"

    @property
    def store_path(self) -> Path:
        """The trace store's file."""
        return self.home / "store.db"

    def with_models(self, models: Mapping[str, str]) -> "Settings":
        """The same settings, with models (short forms) that are not named here yet.

        Raises:
            ConfigurationError: a name or a form that cannot be used.
        """
        try:
            added = TypeAdapter(dict[ModelName, ModelSetting]).validate_python(dict(models))
        except ValidationError as error:
            raise _explained_model(error, "models", 0) from None
        return self.model_copy(update={"models": {**added, **self.models}})

    def api_key(self, model: OpenAISetting) -> SecretStr | None:
        """The key for an endpoint, or None where it needs none.

        Raises:
            ConfigurationError: the variable that should hold it is not set.
        """
        if model.api_key_env is None:
            return None
        key = self._keys.get(model.api_key_env)
        if key is None:
            raise ConfigurationError(
                f"{model.base_url} takes its key from the variable {model.api_key_env}, which is not set: "
                f"export {model.api_key_env}=…"
            )
        return key


def load_settings(environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> Settings:
    """Read the environment and the file (see the module) once, at the start of a process.

    Raises:
        ConfigurationError: a value that cannot be used, with the variable or key and the accepted form.
    """
    environ = os.environ if environ is None else environ
    cwd = Path.cwd() if cwd is None else cwd
    variables = {field: environ.get(PREFIX + field.upper(), "") for field in Settings.model_fields}
    variables = {field: text for field, text in variables.items() if text}
    file = cwd / FILE
    if not file.is_file():
        file = _folder(variables["home"], cwd) / FILE if "home" in variables else _default_home() / FILE
    given = _from_file(file) if file.is_file() else {}
    sources = {field: f"{field} in {file}" for field in given}
    for field, text in variables.items():
        variable = PREFIX + field.upper()
        given[field] = _from_variable(field, variable, text, cwd, given.get(field))
        sources[field] = variable
    given.setdefault("home", _default_home())
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        raise _explained(error, sources) from None
    names = {m.api_key_env for m in settings.models.values() if isinstance(m, OpenAISetting) and m.api_key_env}
    settings._keys.update({name: SecretStr(environ[name]) for name in names if environ.get(name)})
    return settings


def _default_home() -> Path:
    from platformdirs import user_data_dir

    return Path(user_data_dir("antiphon", appauthor=False))


def _folder(text: str, base: Path) -> Path:
    return base / Path(text).expanduser()


def _from_file(file: Path) -> dict[str, Any]:
    try:
        given = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} cannot be read ({error}): expected a TOML file in UTF-8") from error
    for key in given:
        if key not in Settings.model_fields:
            raise ConfigurationError(f"{file} sets {key!r}, expected one of {', '.join(sorted(Settings.model_fields))}")
    if isinstance(given.get("models"), dict):
        given["models"] = anchored(given["models"], file.parent)
    for key in _PATHS:
        if isinstance(given.get(key), str):
            given[key] = _folder(given[key], file.parent)
    return given


def _from_variable(field: str, variable: str, text: str, cwd: Path, in_file: object) -> object:
    if field in _PATHS:
        return _folder(text, cwd)
    if field in _AS_JSON:
        return _json(text)
    if field != "models":
        return text
    try:
        models = json.loads(text)
    except ValueError:
        models = None
    if not isinstance(models, dict):
        raise ConfigurationError(f'{variable} is {text[:80]!r}, expected a JSON object such as {{"big": "URL#MODEL"}}')
    return {**(in_file if isinstance(in_file, dict) else {}), **anchored(models, cwd)}


def _json(text: str) -> object:
    """The value that ``text`` is the JSON of; the text itself, which no such field accepts, where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _explained(error: ValidationError, sources: Mapping[str, str]) -> ConfigurationError:
    """The first thing wrong, as: where it was set, what was found, what is accepted."""
    first = error.errors(include_url=False)[0]
    field = str(first["loc"][0])
    where = sources.get(field, field)
    if field == "models" and len(first["loc"]) > 1:
        return _explained_model(error, where, 1)
    found = "something else" if field in _SECRET else _shown(first["input"])
    return ConfigurationError(f"{where} is {found}, expected {Settings.model_fields[field].description}")


def _explained_model(error: ValidationError, where: str, skip: int) -> ConfigurationError:
    first = error.errors(include_url=False)[0]
    reason = str(first.get("ctx", {}).get("error", first["msg"]))
    key = ".".join(str(part) for part in first["loc"][skip:] if part not in ("[key]", "local", "openai", "bus"))
    return ConfigurationError(f"{where}: {key} is {_shown(first['input'])} ({reason}), expected {FORMS}")


def _shown(value: object) -> str:
    """``value`` for a message: clipped, and without credentials that a URL may carry."""
    return re.sub(r"//[^/@\s]*@", "//…@", repr(value))[:80]
