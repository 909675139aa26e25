"""``antiphon doctor``: its verdicts in order, as lines and as JSON, and its exit status."""

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner, Result

from antiphon.runtime.checkup.verdict import Check, Status, Verdict
from antiphon.runtime.cli import doctor
from antiphon.runtime.cli.commands import app
from antiphon.runtime.models.setting import BusSetting, LocalSetting
from antiphon.runtime.settings import Settings


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home and working directory; logging afterwards as it was before."""
    monkeypatch.setenv("ANTIPHON_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ANTIPHON_CONSOLE_PORT", "0")
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield tmp_path
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def antiphon(*arguments: str) -> Result:
    """The command line, in this process."""
    return CliRunner().invoke(app, ["doctor", *arguments], env={"COLUMNS": "160"})


def saying(*verdicts: Verdict) -> list[Check]:
    """A check that has found this."""

    async def look() -> Sequence[Verdict]:
        return verdicts

    return [Check(name="one", look=look)]


@pytest.mark.parametrize(("worst", "status"), [(Status.OK, 0), (Status.WARN, 0), (Status.FAIL, 1)])
def test_only_what_fails_makes_the_command_fail(monkeypatch: pytest.MonkeyPatch, worst: Status, status: int) -> None:
    """A warning is shown; lines and JSON say the same."""
    found = Verdict(name="the thing", status=worst, found="like this", advice="do that")
    monkeypatch.setattr(doctor, "checks", lambda deep: saying(found, Verdict(name="other", found="fine")))
    lines = antiphon()
    assert lines.exit_code == status
    assert [line.split() for line in lines.stdout.splitlines()] == [
        [worst.value, "the", "thing", "like", "this"],
        ["do", "that"],
        ["ok", "other", "fine"],
    ]
    said = antiphon("--json")
    assert said.exit_code == status
    assert json.loads(said.stdout) == {
        "ok": status == 0,
        "checks": [
            {"name": "the thing", "status": worst.value, "found": "like this", "advice": "do that"},
            {"name": "other", "status": "ok", "found": "fine", "advice": ""},
        ],
    }


def test_settings_that_cannot_be_read_end_it_with_what_does_not_need_them(home: Path) -> None:
    """With the key and the accepted form."""
    (home / "antiphon.toml").write_text("trace = 7\n")
    said = antiphon("--json")
    assert said.exit_code == 1
    rows = {row["name"]: row for row in json.loads(said.stdout)["checks"]}
    assert list(rows) == ["python", "packages", "open files", "settings"]
    assert "antiphon.toml is 7, expected a number from 0 to 1" in rows["settings"]["found"]


@pytest.mark.nats
def test_a_fresh_machine_lacks_only_its_model(home: Path) -> None:
    """Every check, on a real server; the model is what `antiphon models pull` brings."""
    said = antiphon("--json")
    rows = {row["name"]: row for row in json.loads(said.stdout)["checks"]}
    assert list(rows) == [
        "python",
        "packages",
        "open files",
        "settings",
        "home",
        "disk",
        "server",
        "jetstream",
        "clocks",
        "console",
        "model smollm2-135m",
    ]
    failed = [name for name, row in rows.items() if row["status"] == "fail"]
    assert failed == ["model smollm2-135m"]
    assert "antiphon models pull smollm2-135m" in rows["model smollm2-135m"]["found"]
    assert said.exit_code == 1


def test_a_default_model_that_nobody_defines_fails(home: Path) -> None:
    """Named with those there are."""
    verdict = doctor._read(Settings(home=home, default_model="big"))
    assert verdict.status is Status.FAIL
    assert "the default model 'big' is none of" in verdict.found


def test_models_that_nobody_chose_are_not_looked_at(home: Path) -> None:
    """The default comes first; a built-in one counts when it is chosen, or means something else."""
    plain = Settings(home=home)
    assert doctor.named(plain) == ["smollm2-135m"]
    chosen = Settings(
        home=home, default_model="main", models={"main": LocalSetting(path="smollm2-135m"), "a": BusSetting()}
    )
    assert doctor.named(chosen) == ["main", "a"]
    moved = Settings(home=home, default_model="main", models={"main": BusSetting(), "smollm2-135m": BusSetting()})
    assert doctor.named(moved) == ["main", "smollm2-135m"]
