"""What a local model's table may say of memory, latency and tenants."""

import json
from pathlib import Path

import pytest

from antiphon.runtime.engine.engine_config import EngineConfig
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.models.setting import LocalSetting
from antiphon.runtime.settings import load_settings


def loaded(tmp_path: Path, **table: object) -> LocalSetting:
    """The setting of a model with this table."""
    models = json.dumps({"m": {"kind": "local", "path": "x", **table}})
    setting = load_settings({"ANTIPHON_HOME": str(tmp_path), "ANTIPHON_MODELS": models}, tmp_path).models["m"]
    assert isinstance(setting, LocalSetting)
    return setting


def test_what_is_not_said_is_the_engine_s_own(tmp_path: Path) -> None:
    """One default, in one place."""
    setting, config = loaded(tmp_path), EngineConfig()
    assert (setting.cache_tokens, setting.itl_target_s) == (config.cache_tokens, config.itl_target_s)
    assert setting.units == {}


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("units", {"Acme Inc": 1}, "Acme Inc"),
        ("units", {"acme": 0}, "units.acme is 0"),
        ("units", {"acme": -1}, "units.acme is -1"),
        ("units", 3, "units is 3"),
        ("cache_tokens", 10, "cache_tokens is 10"),
        ("itl_target_s", 0, "itl_target_s is 0"),
        ("threads", 0, "threads is 0"),
    ],
)
def test_what_cannot_be_is_named(tmp_path: Path, key: str, value: object, named: str) -> None:
    """With the key and what was found, before anything is loaded."""
    with pytest.raises(ConfigurationError, match=named):
        loaded(tmp_path, **{key: value})
