"""The shape of the repository: four links, one version, one licence."""

import os
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", ["agents", "kernels", "runtime", "schemas"])
def test_links_resolve_to_the_real_folders(name: str) -> None:
    """``antiphon.NAME`` is the folder at the top level, by a relative link."""
    link = ROOT / "src" / "antiphon" / name
    assert link.is_symlink()
    assert os.readlink(link) == f"../../{name}"
    assert link.resolve() == ROOT / name
    assert (ROOT / name / "__init__.py").is_file()


def test_changelog_and_package_agree_on_the_version() -> None:
    """The newest entry is the version of pyproject.toml."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    newest = re.search(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert newest is not None
    assert newest[1] == version


def test_licence_is_complete() -> None:
    """The full text of Apache-2.0, from its title to the appendix."""
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert "APPENDIX: How to apply the Apache License to your work." in text
