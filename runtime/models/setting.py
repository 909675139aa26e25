"""How a model is named in settings: a table by kind, or a short string."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from antiphon.runtime.engine.engine_config import PAGE_TOKENS, EngineConfig
from antiphon.schemas.identity import check_name
from antiphon.schemas.message import Value

FORMS: Final = 'a table with kind = "local", "openai" or "bus", or short: a path, a pulled name, "URL#MODEL" or "bus"'


def _reachable(url: str) -> str:
    """``url`` itself. Raises ValueError for anything but http(s) with a host and a port that exists."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("expected http://HOST:PORT/v1 or https://HOST/v1")
    return url


def _tenant(name: str) -> str:
    return check_name("tenant", name)


TenantName = Annotated[str, AfterValidator(_tenant)]


class LocalSetting(Value):
    """A model that this process, or one that it starts, loads: ``path`` is a file, a folder, or a pulled name.

    ``cache_tokens``, ``itl_target_s`` and ``batch_invariant`` as EngineConfig has them. ``units``: throughput that
    tenants have bought.
    """

    kind: Literal["local"] = "local"
    path: str = Field(min_length=1)
    threads: int = Field(default=1, ge=1, le=1024)
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    cache_tokens: int | None = Field(default=None, ge=PAGE_TOKENS)
    itl_target_s: float = Field(default=EngineConfig.itl_target_s, gt=0, allow_inf_nan=False)
    batch_invariant: bool = False
    units: dict[TenantName, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(default_factory=dict)

    @property
    def places(self) -> int:
        """The requests that its engine takes. Whoever passes requests on keeps no line before the engine's own, which
        alone knows of priorities and tenants."""
        return EngineConfig.max_waiting + EngineConfig.max_rows


class _Priced(Value):
    """A model that somebody else runs: US dollars for a million tokens, both or neither; 0 where it costs nothing."""

    usd_per_million_input: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    usd_per_million_output: float | None = Field(default=None, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.usd_per_million_input is None) != (self.usd_per_million_output is None):
            raise ValueError("expected usd_per_million_input and usd_per_million_output, or neither")
        return self


class OpenAISetting(_Priced):
    """An OpenAI-compatible endpoint. The key itself stays in the variable that ``api_key_env`` names.

    ``tools`` false: the model there calls no tools itself, but its replies can be forced to fit a schema.
    """

    kind: Literal["openai"] = "openai"
    base_url: Annotated[str, AfterValidator(_reachable)]
    model: str = Field(min_length=1)
    api_key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    timeout_s: float = Field(default=120.0, gt=0)
    tools: bool = True


class BusSetting(_Priced):
    """An instance that another process serves on the bus; ``model`` is its name there (None: the same name)."""

    kind: Literal["bus"] = "bus"
    model: str | None = None


def expand(given: object) -> object:
    """The table that a short form stands for; anything but a string is left as it is.

    Raises:
        ValueError: a URL without ``#MODEL``.
    """
    if not isinstance(given, str):
        return given
    if given == "bus":
        return {"kind": "bus"}
    if re.match(r"https?://", given):
        base_url, _, model = given.partition("#")
        if not model:
            raise ValueError(f"the URL names no model, expected one such as {base_url}#llama3.2")
        return {"kind": "openai", "base_url": base_url, "model": model}
    return {"kind": "local", "path": given}


def _tagged(given: object) -> object:
    """A table without ``kind`` is local, as the class's default says."""
    expanded = expand(given)
    return {"kind": "local", **expanded} if isinstance(expanded, Mapping) else expanded


def _checked(name: str) -> str:
    return check_name("model", name)


ModelName = Annotated[str, AfterValidator(_checked)]
ModelSetting = Annotated[
    Annotated[LocalSetting | OpenAISetting | BusSetting, Field(discriminator="kind")], BeforeValidator(_tagged)
]


def anchored(models: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The same models with written paths (``./x``, ``../x``, ``~/x``) made absolute, relative ones from ``folder``."""

    def anchor(given: object) -> object:
        if isinstance(given, str) and given.startswith(("./", "../", "~/")):
            return str((folder / Path(given).expanduser()).resolve())
        return given

    return {
        name: {**model, "path": anchor(model["path"])} if isinstance(model, dict) and "path" in model else anchor(model)
        for name, model in models.items()
    }
