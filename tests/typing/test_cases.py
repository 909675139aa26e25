"""The public API's types, as mypy and basedpyright see them: replies are inferred, wrong input is refused.

Every line of ``cases/*.py`` that must be an error ends in ``# expect-error``; ``assert_type`` covers the others. Both
tools run once over all cases, and each must report exactly the expected lines.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

CASES = Path(__file__).parent / "cases"
ROOT = Path(__file__).parents[2]
MARK = "# expect-error"
FILES = sorted(CASES.glob("*.py"))

Found = Mapping[str, Mapping[int, str]]


def _run(*command: str) -> str:
    """What a tool of this environment prints; exit status 1 means that it found something."""
    environ = {**os.environ, "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr or done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def mypy() -> Found:
    """Errors by file and line, as mypy --strict of this project reports them."""
    found: dict[str, dict[int, str]] = {}
    for line in _run("mypy", "--output", "json", "--no-warn-unused-ignores", *map(str, FILES)).splitlines():
        item = json.loads(line)
        if item["severity"] == "error":
            found.setdefault(Path(item["file"]).name, {})[item["line"]] = item["message"]
    return found


@pytest.fixture(scope="module")
def basedpyright() -> Found:
    """The same by basedpyright in strict mode."""
    found: dict[str, dict[int, str]] = {}
    for item in json.loads(_run("basedpyright", "--outputjson", *map(str, FILES)))["generalDiagnostics"]:
        if item["severity"] == "error":
            line = item["range"]["start"]["line"] + 1
            found.setdefault(Path(item["file"]).name, {})[line] = item["message"]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("tool", ["mypy", "basedpyright"])
def test_exactly_the_marked_lines_are_errors(tool: str, path: Path, request: pytest.FixtureRequest) -> None:
    """What the types promise is kept, and what they forbid is refused."""
    found: Found = request.getfixturevalue(tool)
    lines = path.read_text().splitlines()
    expected = {number for number, line in enumerate(lines, 1) if re.search(rf"{MARK}$", line)}
    seen = found.get(path.name, {})
    unexpected = {number: seen[number] for number in sorted(seen.keys() - expected)}
    missing = {number: lines[number - 1].strip() for number in sorted(expected - seen.keys())}
    assert (unexpected, missing) == ({}, {})


def test_the_package_says_that_it_is_typed() -> None:
    """Without the marker file, checkers of other projects see nothing of this."""
    assert (ROOT / "src" / "antiphon" / "py.typed").is_file()
