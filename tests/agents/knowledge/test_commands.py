"""``antiphon knowledge`` as a person uses it: a real server, the real model, a process for each command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    return subprocess.run(command, env=environ, cwd=home.parent, capture_output=True, text=True, timeout=100)


@pytest.mark.nats
def test_a_library_from_the_first_document_to_the_last(home: Path) -> None:
    """Nobody serves the agent: each command does while it runs, and the library stays."""
    (home.parent / "guide.md").write_text("# Guide\n\n## Animals\n\nThe fox sleeps by day.\n\n## Sea\n\nSalt water.\n")
    (home.parent / "odd.md").write_bytes(b"%PDF-1.7\n%\xe2\xe3")
    taken = antiphon(home, "ingest", "guide.md", "odd.md")
    assert taken.returncode == 1  # one was refused
    assert taken.stdout == "1 taken in, 0 unchanged, 0 gone, 1 refused; 2 passages embedded\n"
    assert f"WrongFormat: {home.parent / 'odd.md'}: found PDF, expected Markdown" in taken.stderr
    found = antiphon(home, "search", "When do wild canines rest?", "--limit", "1", "--json")
    assert found.returncode == 0, found.stderr
    (passage,) = json.loads(found.stdout)["passages"]
    assert (passage["heading"], passage["first_line"]) == (["Guide", "Animals"], 5)
    assert antiphon(home, "list").stdout.endswith(f"       2  {home.parent / 'guide.md'}\n")
    removed = antiphon(home, "remove", str(home.parent / "guide.md"))
    assert (removed.returncode, removed.stdout) == (0, "1 forgotten\n")


@pytest.mark.nats
def test_an_agent_that_nobody_serves_is_not_made_up(home: Path) -> None:
    """Only the built-in one starts by itself."""
    found = antiphon(home, "search", "x", "--agent", "handbook")
    assert found.returncode == 1
    assert "UnknownAgent" in found.stderr
