"""The tutorial's code is the code of tested files, and its commands exist."""

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import typer.main

from antiphon.runtime.cli.commands import app
from antiphon.runtime.loader import load_system

Page = Callable[[str], str]
COMMANDS = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]  # a typer app is a click group


@pytest.fixture
def steps(page: Page) -> list[str]:
    """The page's sections."""
    return re.split(r"^## ", page("docs/tutorial.md"), flags=re.M)[1:]


def test_each_step_shows_a_part_of_the_file_it_names(steps: list[str], root: Path) -> None:
    """Word for word; files that are not run by a test of their own would not be found here."""
    assert len(steps) == 7
    for step in steps:
        named = re.findall(r"`(examples/[\w/]+\.py)`", step)
        blocks = re.findall(r"^```python\n(.*?)^```", step, re.S | re.M)
        assert len(named) == len(blocks) == 1, step[:40]
        assert blocks[0] in (root / named[0]).read_text(encoding="utf-8"), step[:40]


def test_commands_exist(page: Page, root: Path) -> None:
    """Every ``antiphon`` command, and every file it is given."""
    lines = re.findall(r"^antiphon (\w+)(.*)$", page("docs/tutorial.md"), re.M)
    assert {command for command, _ in lines} <= COMMANDS
    files = [file for _, rest in lines for file in re.findall(r"examples/[\w/]+\.py", rest)]
    assert len(files) == 6 and all((root / file).is_file() for file in files)


def test_what_is_submitted_is_what_the_handler_takes(steps: list[str], root: Path) -> None:
    """The address and the message of each ``antiphon submit``, held against the system that was started before."""
    submitted = 0
    for step in steps:
        files = re.findall(r"^antiphon run (\S+)$", step, re.M)
        for address, body in re.findall(r"^antiphon submit (\S+) '(.+)'", step, re.M):
            system = load_system(str(root / files[0]))
            handlers = {str(one.address): one for agent in system.agents for one in agent.handlers.values()}
            handlers[address].input.model_validate_json(body)
            submitted += 1
    assert submitted == 5


def test_the_tests_of_the_last_step_pass(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the page says to run them, from the folder of the examples."""
    monkeypatch.syspath_prepend(str(root / "examples"))
    file = root / "examples" / "tutorial" / "test_story.py"
    found = ModuleType("test_story")
    exec(compile(file.read_text(encoding="utf-8"), file, "exec"), found.__dict__)
    tests = [name for name in vars(found) if name.startswith("test_")]
    assert len(tests) == 3
    for name in tests:
        vars(found)[name]()
