"""Finding a system by name: what works, and what each mistake is told."""

import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from antiphon.runtime.errors import LoadError
from antiphon.runtime.loader import load_system

GOOD = """
from antiphon import Agent, System
system = System("found", agents=[Agent("a")])
number = 3
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path, None, None]:
    """A working directory with a system in it; imports are forgotten afterwards."""
    (tmp_path / "loader_good.py").write_text(GOOD)
    (tmp_path / "loader_bad.py").write_text("import no_such_package_at_all")
    (tmp_path / "loader_broken.py").write_text("1 / 0")
    (tmp_path / "loader_wrong.py").write_text("def (")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("loader_")]:
        del sys.modules[name]


@pytest.mark.parametrize("target", ["loader_good.py:system", "./loader_good.py:system", "loader_good:system"])
def test_a_file_and_a_module_are_found(target: str) -> None:
    """By path or by dotted name."""
    assert load_system(target).name == "found"


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("loader_good.py", "expected FILE.py:NAME"),
        (":system", "expected FILE.py:NAME"),
        ("loader_good.py:", "expected FILE.py:NAME"),
        ("nothing.py:system", "no file nothing.py in "),
        ("no_such_module_here:system", "no module 'no_such_module_here'"),
        ("loader_good.py:sistem", r"has no 'sistem' \(systems in it: system\)"),
        ("loader_good.py:number", "is a int, expected an antiphon.System"),
        ("loader_bad.py:system", "importing loader_bad.py failed: ModuleNotFoundError: No module named 'no_such_pack"),
        ("loader_bad:system", "importing loader_bad failed: No module named 'no_such_package_at_all'"),
        ("loader_broken.py:system", "importing loader_broken.py failed: ZeroDivisionError"),
        ("loader_broken:system", "importing loader_broken failed: ZeroDivisionError"),
        ("loader_wrong.py:system", "importing loader_wrong.py failed: SyntaxError"),
    ],
)
def test_every_mistake_is_a_load_error_that_says_what_to_do(target: str, says: str) -> None:
    """Never the bare exception of an import."""
    with pytest.raises(LoadError, match=says):
        load_system(target)


def test_a_file_does_not_push_out_a_module_of_the_same_name(folder: Path) -> None:
    """A system in ``json.py`` must not replace the standard library's for everybody."""
    import json

    (folder / "json.py").write_text(GOOD)
    assert load_system("json.py:system").name == "found"
    assert sys.modules["json"] is json
