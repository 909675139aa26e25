"""What every test gets: an environment of its own, and the real model where it is asked for."""

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests leaks into them."""
    for name in [name for name in os.environ if name.startswith(("ANTIPHON_", "OTEL_"))]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def models_home() -> Path:
    """The folder of pulled models, with smollm2-135m in it: pulled once, in a cache that outlives the test run."""
    from antiphon.runtime.models.pull import pull

    named = os.environ.get("ANTIPHON_TEST_MODELS")
    folder = Path(named) if named else Path.home() / ".cache" / "antiphon-test" / "models"
    pull("smollm2-135m", folder, lambda progress: None)
    return folder
