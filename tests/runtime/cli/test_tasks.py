"""``antiphon submit``, ``result``, ``agents``: what they take, and what they print."""

import json
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner

from antiphon.runtime import client
from antiphon.runtime.bus.topology import ensure_streams
from antiphon.runtime.cli.commands import app
from antiphon.runtime.client import Client
from antiphon.runtime.settings import Settings
from antiphon.runtime.testing import MemoryBus, MemoryServer


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        ("tokens", "budget 'tokens': expected NAME=AMOUNT, such as tokens=10000,usd=0.5"),
        ("money=1", "there is no budget 'money', expected tokens, usd, steps or wall_s"),
        ("steps=-1", "budget steps is -1.0, expected a finite number from 0"),
    ],
)
def test_a_budget_that_means_nothing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: str, says: str
) -> None:
    """By type and with the accepted form, and nothing is submitted."""
    monkeypatch.setenv("ANTIPHON_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["submit", "writer.write", "{}", "--budget", budget])
    assert done.exit_code == 1
    assert f"ConfigurationError: {says}" in done.stderr.replace("\n", " ")


@pytest.fixture
def noisy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A bus in memory, and something that logs as soon as it is connected; logging afterwards as it was before."""

    @asynccontextmanager
    async def connect(settings: Settings) -> AsyncGenerator[Client, None]:
        async with client.connect(bus=MemoryBus(MemoryServer())) as found:
            await ensure_streams(found.host.bus)
            log = structlog.get_logger()
            log.info("said")
            log.warning("shouted", tenant=settings.tenant)
            yield found

    monkeypatch.setattr("antiphon.runtime.cli.connection.connect", connect)
    monkeypatch.setenv("ANTIPHON_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize(
    "arguments",
    [
        ("agents",),
        ("ask", "nobody.works", "{}"),
        ("submit", "nobody.works", "{}"),
        ("task", "t1"),
        ("dead", "list"),
        ("dead", "redrive", "7"),
        ("approvals", "list"),
    ],
)
@pytest.mark.usefixtures("noisy")
def test_only_json_is_printed_where_json_was_asked_for(arguments: tuple[str, ...]) -> None:
    """What is logged meanwhile goes to standard error, from warnings up."""
    said = CliRunner().invoke(app, [*arguments, "--json"])
    json.loads(said.stdout)
    assert '"shouted"' in said.stderr and '"said"' not in said.stderr


@pytest.mark.usefixtures("noisy")
def test_what_is_cancelled_or_asked_for_must_be_known() -> None:
    """Said on standard error, under the log."""
    for command, kind in (("cancel", "UnknownTask"), ("result", "ConfigurationError")):
        said = CliRunner().invoke(app, [command, "t1"])
        assert (said.exit_code, said.stdout) == (1, "")
        assert f"{kind}: " in said.stderr
