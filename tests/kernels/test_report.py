"""The report on kernels and targets, and what becomes of it when a compiler dies."""

import json
import sys

import pytest
from typer.testing import CliRunner

from antiphon.kernels import report
from antiphon.kernels.cross_compile import Compiled
from antiphon.kernels.report import Report, compile_all
from antiphon.runtime.cli.commands import app

# A compiler of our own that lists two cases of one kernel, compiles what it is asked for, and falls over "bad".
STAND_IN = """
import json, sys
for line in sys.stdin:
    job = json.loads(line)
    if job.get("case") == "norm.bad":
        sys.exit("Assertion `false' failed")
    answer = {**job, "kernel": "_norm", "registers": 8} if job else {"norm": "_norm", "norm.bad": "_norm"}
    print(json.dumps(answer), flush=True)
"""


def row(kernel: str, target: str, *, spill_bytes: int = 0, error: str = "", case: str = "") -> Compiled:
    """A row with what is counted."""
    return Compiled(case=case or kernel, kernel=kernel, target=target, spill_bytes=spill_bytes, error=error)


def test_counts_are_of_kernels_and_targets_and_not_of_configurations() -> None:
    """A kernel has compiled for a target when all of its configurations have."""
    rows = (
        row("a", "sm_90"),
        row("a", "gfx942", spill_bytes=8),
        row("a", "sm_90", case="a.2", error="no"),
        row("a", "gfx942", case="a.2"),
        row("b", "sm_90"),
        row("b", "gfx942"),
    )
    assert Report(targets=("sm_90", "gfx942"), rows=rows).counts() == {
        "kernels": 2,
        "configurations": 3,
        "targets": 2,
        "compiled": 3,
        "spilled": 1,
        "failed": 2,
    }


def test_a_dying_compiler_fails_its_row_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another takes its place, and the end of what it said is the reason."""
    monkeypatch.setattr(report, "_COMMAND", (sys.executable, "-c", STAND_IN))
    seen: list[tuple[int, int]] = []
    found = compile_all(targets=("sm_80", "sm_90"), workers=1, progress=lambda done, total: seen.append((done, total)))
    assert [(each.case, each.target, each.registers) for each in found.rows if not each.problem] == [
        ("norm", "sm_80", 8),
        ("norm", "sm_90", 8),
    ]
    assert [each.case for each in found.problems] == ["norm.bad", "norm.bad"]
    assert found.problems[0].problem == "the compiler ended with status 1: Assertion `false' failed"
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_without_variants_only_the_first_of_each_kernel_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first configuration is the default."""
    monkeypatch.setattr(report, "_COMMAND", (sys.executable, "-c", STAND_IN))
    assert [each.case for each in compile_all(targets=("sm_90",), variants=False).rows] == ["norm"]


def test_a_hanging_compiler_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every wait has an end."""
    monkeypatch.setattr(report, "_COMMAND", (sys.executable, "-c", "import sys; sys.stdin.readlines()"))
    monkeypatch.setattr(report, "_ANSWER_S", 0.2)
    with pytest.raises(RuntimeError, match="the compiler ended with status -9"):
        compile_all()


def test_unknown_names_are_refused_with_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets before a process is started, kernels after the list is there."""
    monkeypatch.setattr(report, "_COMMAND", (sys.executable, "-c", STAND_IN))
    with pytest.raises(ValueError, match="found target sm_42, expected some of sm_80, "):
        compile_all(targets=("sm_42",))
    with pytest.raises(ValueError, match=r"found kernel nrom, expected some of norm, norm\.bad"):
        compile_all(kernels=("nrom",))


def test_command_prints_json_and_fails_with_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """One JSON object on standard output; status 1 as soon as one row has a problem, 0 when none has."""
    monkeypatch.setattr(report, "_COMMAND", (sys.executable, "-c", STAND_IN))
    done = CliRunner().invoke(app, ["kernels", "report", "--json", "--target", "sm_90"])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert (answer["kernels"], answer["targets"], answer["compiled"], answer["spilled"]) == (1, 1, 1, 0)
    assert answer["rows"][0]["registers"] == 8
    done = CliRunner().invoke(app, ["kernels", "report", "--all", "--target", "sm_90"])
    assert done.exit_code == 1
    assert "norm.bad on sm_90: the compiler ended with status 1" in done.stdout
