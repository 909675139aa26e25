"""What is said of a machine: its folders, its ports, its packages."""

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from antiphon.runtime.checkup import machine
from antiphon.runtime.checkup.verdict import Status
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.console.app import create_app
from antiphon.runtime.console.feed import LiveFeed
from antiphon.runtime.console.server import serve
from antiphon.runtime.settings import Settings

REQUIRED = [
    "pydantic>=2.12",
    'torch>=2.11; extra == "engine"',
    f'triton>=3.6; sys_platform == "{sys.platform}" and extra == "engine"',
    'wheels>=1; sys_platform == "another" and extra == "engine"',
    "mcp[cli]>=1; extra == 'mcp'",
    'pytest>=9; extra == "dev"',
]


def test_an_extra_lacks_what_is_not_installed() -> None:
    """Those for other systems and the development tools do not count."""
    assert machine.absent(REQUIRED, lambda name: name == "torch") == {"engine": ["triton"], "mcp": ["mcp"]}
    assert machine.absent(REQUIRED, lambda name: True) == {"engine": [], "mcp": []}


async def test_the_tests_own_installation_has_the_engine() -> None:
    """Said by extra, without advice where nothing lacks."""
    found = (await machine.packages())[0]
    assert "engine: installed" in found.found
    assert (await machine.python())[0].found.startswith(f"Python {sys.version.split()[0]}, ")


@pytest.mark.parametrize(("limit", "status"), [(64, Status.WARN), (1024, Status.OK), (-1, Status.OK)])
async def test_few_open_files_are_warned_of(monkeypatch: pytest.MonkeyPatch, limit: int, status: Status) -> None:
    """With the command that mends it."""
    monkeypatch.setattr("resource.getrlimit", lambda which: (limit, limit))
    found = (await machine.open_files())[0]
    assert found.status is status
    assert found.advice.startswith("ulimit -n 1024") is (status is Status.WARN)


async def test_a_home_that_cannot_be_written_to_fails(tmp_path: Path) -> None:
    """One that can is made, and left empty."""
    home = tmp_path / "a" / "home"
    assert (await machine.home(Settings(home=home)))[0].status is Status.OK
    assert os.listdir(home) == []
    (tmp_path / "file").write_text("")
    found = (await machine.home(Settings(home=tmp_path / "file" / "home")))[0]
    assert found.status is Status.FAIL
    assert "Not a directory" in found.found


@pytest.mark.parametrize(("free_mb", "status"), [(100, Status.FAIL), (2_000, Status.WARN), (50_000, Status.OK)])
async def test_a_disk_must_have_room_for_what_may_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_mb: int, status: Status
) -> None:
    """Streams count where the server is embedded; the home need not be there yet."""
    usage: Callable[[object], object] = lambda folder: type("Usage", (), {"free": free_mb * 1_000_000})  # noqa: E731
    monkeypatch.setattr("shutil.disk_usage", usage)
    embedded = Settings(home=tmp_path / "not" / "yet")
    assert (await machine.disk(embedded))[0].status is status
    elsewhere = Settings(home=tmp_path, nats_url="nats://h:1", retention_mb=1_000)
    assert (await machine.disk(elsewhere))[0].status is (Status.FAIL if free_mb == 100 else Status.OK)


async def test_a_port_that_is_free_or_has_a_console_is_fine(tmp_path: Path) -> None:
    """Another program there is a warning, an address of others an error."""

    async def nobody() -> object:
        return [], []

    assert (await machine.console(Settings(home=tmp_path, console_port=0)))[0].found == "takes any free port"
    clock = SystemClock()
    app = create_app(None, nobody, "t" * 32, LiveFeed(clock), clock=clock)  # type: ignore[arg-type]  # nothing is read
    server = await serve(app, 0)
    found = (await machine.console(Settings(home=tmp_path, console_port=server.port)))[0]
    assert (found.status, found.found) == (Status.OK, f"one is up at http://127.0.0.1:{server.port}/")
    await server.stop()
    assert (await machine.console(Settings(home=tmp_path, console_port=server.port)))[0].found.endswith("is free")

    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        other.close()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        taken = (await machine.console(Settings(home=tmp_path, console_port=port)))[0]
    assert (taken.status, taken.advice[:27]) == (Status.WARN, "stop what listens there, an")
    away = (await machine.console(Settings(home=tmp_path, console_host="0.0.0.0")))[0]
    assert away.status is Status.FAIL
