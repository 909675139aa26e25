"""``antiphon knowledge`` as a person uses it: a real server, the real model, a process for each command."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from antiphon.runtime.compose import open_host
from antiphon.runtime.delivery.outcome import result_of
from antiphon.runtime.settings import Settings
from antiphon.schemas import subjects
from antiphon.schemas.task import TaskResult, TaskState

COMMAND = Path(sys.executable).with_name("antiphon")


@pytest.fixture
def home(tmp_path: Path, models_home: Path) -> Path:
    """A home with the models in it."""
    found = tmp_path / "home"
    found.mkdir()
    (found / "models").symlink_to(models_home)
    return found


def antiphon(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in the folder of the home."""
    environ = {**os.environ, "ANTIPHON_HOME": str(home), "NO_COLOR": "1"}
    command = [str(COMMAND), "knowledge", *arguments]
    return subprocess.run(command, env=environ, cwd=home.parent, capture_output=True, text=True, timeout=300)


@pytest.mark.nats
def test_a_library_from_the_first_document_to_the_last(home: Path) -> None:
    """Nobody serves the agent: each command does while it runs, and the library stays."""
    guide = "# Guide\n\n## Animals\n\nThe fox sleeps \x1b[2Jby day.\n\n## Sea\n\nSalt water.\n"
    (home.parent / "guide.md").write_text(guide)
    (home.parent / "odd[#red].md").write_bytes(b"%PDF-1.7\n%\xe2\xe3")
    taken = antiphon(home, "ingest", "guide.md", "odd[#red].md")
    assert taken.returncode == 1  # one was refused
    assert taken.stdout == "1 taken in, 0 unchanged, 0 gone, 1 refused; 2 passages embedded\n"
    assert f"WrongFormat: {home.parent / 'odd[#red].md'}: found PDF, expected Markdown" in taken.stderr
    found = antiphon(home, "search", "When do wild canines rest?", "--limit", "1", "--json")
    assert found.returncode == 0, found.stderr
    assert "\x1b" not in antiphon(home, "search", "fox", "--limit", "1").stdout  # a document moves no cursor
    (passage,) = json.loads(found.stdout)["passages"]
    assert (passage["heading"], passage["first_line"]) == (["Guide", "Animals"], 5)
    assert antiphon(home, "list").stdout.endswith(f"       2  {home.parent / 'guide.md'}\n")
    nothing = antiphon(home, "search", "")
    assert (nothing.returncode, nothing.stderr.partition(":")[0]) == (1, "InvalidMessage")
    other = antiphon(home, "remove", "guide.md")
    assert (other.returncode, other.stdout) == (1, "0 forgotten\n")
    assert "the library has no guide.md: `antiphon knowledge list`" in other.stderr
    removed = antiphon(home, "remove", str(home.parent / "guide.md"))
    assert (removed.returncode, removed.stdout) == (0, "1 forgotten\n")


@pytest.mark.nats
def test_an_agent_that_nobody_serves_is_not_made_up(home: Path) -> None:
    """Only the built-in one starts by itself."""
    found = antiphon(home, "search", "x", "--agent", "handbook")
    assert found.returncode == 1
    assert "UnknownAgent" in found.stderr


@pytest.mark.nats
def test_ctrl_c_ends_the_ingest_and_not_only_its_reader(home: Path) -> None:
    """The task is cancelled: it does not fail for want of the agent that the command takes away with it."""
    folder = home.parent / "many"
    folder.mkdir()
    for number in range(400):
        (folder / f"{number}.md").write_text(f"# Number {number}\n\nWhat there is to say about {number}.\n")
    environ = {**os.environ, "ANTIPHON_HOME": str(home), "NO_COLOR": "1", "TTY_COMPATIBLE": "1", "COLUMNS": "80"}
    command = [str(COMMAND), "knowledge", "ingest", "many"]
    process = subprocess.Popen(command, env=environ, cwd=home.parent, stderr=subprocess.PIPE, text=True, bufsize=1)
    assert process.stderr is not None
    while "/400" not in (shown := process.stderr.read(1) + process.stderr.readline()):
        assert shown, "the ingest ended before it showed progress"
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=300)[1]
    assert process.returncode == 130
    assert rest.endswith("stopped\n") and "Traceback" not in rest

    async def outcome() -> TaskResult | None:
        async with open_host(Settings(home=home, trace=0.0), node="test") as host:
            any_task = subjects.result(host.tenant, "x").removesuffix("x") + "*"
            return await result_of(host.bus, await host.bus.streams.last(any_task))

    ended = asyncio.run(outcome())
    assert ended is not None
    assert ended.state is TaskState.CANCELLED
