"""Which model a name means for whoever is to serve it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from antiphon.runtime.cli.commands import app
from antiphon.runtime.cli.serve import at_once, placed
from antiphon.runtime.engine.engine_config import EngineConfig
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.models.setting import LocalSetting
from antiphon.runtime.settings import Settings, load_settings


def settings(tmp_path: Path, **models: object) -> Settings:
    """Settings with these models."""
    return load_settings({"ANTIPHON_HOME": str(tmp_path), "ANTIPHON_MODELS": json.dumps(models)}, tmp_path)


def test_a_model_of_the_settings_is_what_they_say(tmp_path: Path) -> None:
    """Also by the place that a setting names, so that its threads and units hold."""
    found = settings(tmp_path, own={"path": "hf:org/Name", "threads": 2}, far="http://127.0.0.1:1/v1#m")
    assert placed("own", found) == ("own", found)
    assert placed("far", found) == ("far", found)
    assert placed("hf:org/Name", found) == ("own", found)
    assert placed("never-heard-of", found) == ("never-heard-of", found)  # the registry says what there is


def test_a_local_models_engine_is_given_every_request() -> None:
    """It alone knows the order; an endpoint that orders nothing is given some."""
    assert at_once(LocalSetting(path="x")) >= EngineConfig.max_waiting + EngineConfig.max_rows
    assert at_once(None) == 64


def test_what_was_pulled_needs_no_setting(tmp_path: Path) -> None:
    """Its name is the last part, as far as subjects can carry it."""
    name, found = placed("hf:org/Small.Model-1B", settings(tmp_path))
    assert name == "small-model-1b"
    assert found.models[name] == LocalSetting(path="hf:org/Small.Model-1B")


def test_settings_may_be_the_same_on_all_nodes(tmp_path: Path) -> None:
    """A packaged model that is on the bus for the others is served here; of any other nobody knows where it lies."""
    found = settings(tmp_path, **{"smollm2-135m": "bus", "far": "bus"})
    name, own = placed("smollm2-135m", found)
    assert own.models[name] == LocalSetting(path="smollm2-135m")
    with pytest.raises(ConfigurationError, match="must say where it runs"):
        placed("far", found)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("--openai", "m", "--tenant", "acme"), "--tenant"),
        (("--openai", "m", "--concurrency", "3"), "--concurrency"),
        (("m", "--host", "0.0.0.0"), "--host"),
        (("m", "--port", "8485"), "--port"),
    ],
)
def test_an_option_of_the_other_form_is_refused(given: tuple[str, ...], named: str) -> None:
    """It would change nothing, and whoever gave it would not know."""
    done = CliRunner().invoke(app, ["serve", *given], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert named in done.output
