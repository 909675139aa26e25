"""The README's code is the code of tested files, and what it shows works."""

import asyncio
import contextlib
import json
import re
import sqlite3
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import typer.main

from antiphon.runtime.cli.commands import app
from antiphon.runtime.loader import load_system
from antiphon.runtime.models.scripted import ScriptedModel
from antiphon.runtime.settings import load_settings
from antiphon.runtime.system import System
from antiphon.runtime.testing import memory_system
from antiphon.schemas.inference import GenerateRequest

Page = Callable[[str], str]
EXAMPLES = ("examples/newsroom.py", "examples/client.py", "examples/refund.py")
COMMANDS = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]  # a typer app is a click group


def module(path: Path) -> ModuleType:
    """A Python file as a module of its own."""
    found = ModuleType(path.stem)
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), found.__dict__)
    return found


def answer(request: GenerateRequest) -> str:
    """What a model that fits every schema of the newsroom would say."""
    reviewing = request.output is not None and "accepted" in request.output.json_schema["properties"]
    return json.dumps({"accepted": True, "comment": "clear"} if reviewing else {"text": "Air scatters blue light."})


@pytest.fixture
def newsroom(root: Path) -> System:
    """The system of the README, as ``antiphon run`` loads it."""
    return load_system(str(root / "examples" / "newsroom.py") + ":system")


@pytest.mark.parametrize("example", EXAMPLES)
def test_code_is_the_file(page: Page, example: str) -> None:
    """What stands between the markers is the example, character by character."""
    readme = page("README.md")
    found = re.search(rf"<!-- begin {example} -->\n```python\n(.*?)```\n<!-- end {example} -->", readme, re.S)
    assert found is not None, f"README.md has no block for {example}"
    assert found[1] == page(example), f"copy {example} into README.md between its markers"


async def test_a_refund_is_decided_and_paid_once(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The edited proposal is what is paid, under one key."""
    monkeypatch.chdir(tmp_path)
    example = module(root / "examples" / "refund.py")
    async with memory_system(example.system) as client:
        task = await client.submit(example.refund, example.Refund(customer="ada", cents=4200))
        while not (open_ones := await client.host.approvals.all()):  # noqa: ASYNC110  # what it asks is on the bus
            await asyncio.sleep(0.01)
        edited = {"customer": "ada", "cents": 4000}
        await client.host.approvals.answer(open_ones[0].id, approved=True, by="grace", value=edited)
        receipt = await task.result(timeout_s=60)
    assert (receipt.paid_cents, receipt.decided_by) == (4000, "grace")
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger:
        assert ledger.execute("SELECT key, cents FROM paid").fetchall() == [(f"{task.id}:2", 4000)]


async def test_client_talks_to_the_newsroom(root: Path, newsroom: System, capsys: pytest.CaptureFixture[str]) -> None:
    """Ask, submit and stream of the client example, each answered by the agents of the other example."""
    client_example = module(root / "examples" / "client.py")
    async with memory_system(newsroom, models={"smollm2-135m": ScriptedModel(answer)}) as client:
        await client_example.talk(client, client_example.Question(text="Why is the sky blue?"))
    lines = capsys.readouterr().out.splitlines()
    said = [line for line in lines if line.startswith(("asked:", "submitted:", "streamed:"))]
    assert [line.split(":")[0] for line in said] == ["asked", "submitted", "streamed"]
    assert all(line.endswith("Air scatters blue light.") for line in said)


def test_commands_exist(page: Page) -> None:
    """Every ``antiphon …`` command in the documents is one."""
    for path in ("README.md", "CHANGELOG.md", "docs/settings.md", "docs/messages.md", "docs/architecture.md"):
        named = set(re.findall(r"(?:^|`)antiphon ([a-z]+)", page(path), re.M))
        assert named <= COMMANDS, f"{path} names commands that do not exist: {named - COMMANDS}"


def test_make_targets_exist(page: Page) -> None:
    """Every ``make …`` in README and CONTRIBUTING is a target."""
    targets = set(re.findall(r"^([a-z]+):", page("Makefile"), re.M))
    for path in ("README.md", "CONTRIBUTING.md"):
        assert set(re.findall(r"(?:^|`)make ([a-z]+)", page(path), re.M)) <= targets


@pytest.mark.parametrize("path", ["README.md", "docs/settings.md"])
def test_settings_files_are_accepted(page: Page, tmp_path: Path, path: str) -> None:
    """Each settings file that a document shows can be loaded."""
    blocks = re.findall(r"```toml\n(.*?)```", page(path), re.S)
    assert blocks
    for block in blocks:
        (tmp_path / "antiphon.toml").write_text(block)
        settings = load_settings({"ANTIPHON_HOME": str(tmp_path)}, tmp_path)
        assert settings.models.keys() >= tomllib.loads(block)["models"].keys()


def test_variables_are_settings(page: Page) -> None:
    """Every ANTIPHON_ variable that the documents name is one, and none was renamed under them."""
    known = {f"ANTIPHON_{name.upper()}" for name in type(load_settings({})).model_fields}
    streams = set(re.findall(r"ANTIPHON_[A-Z]+", page("runtime/bus/topology.py")))
    for path in ("README.md", "CHANGELOG.md", "docs/settings.md"):
        assert set(re.findall(r"ANTIPHON_[A-Z_]+[A-Z]", page(path))) <= known | streams, path
