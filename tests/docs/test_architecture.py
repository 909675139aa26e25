"""The page of the architecture names every module, and no module that does not exist."""

import re
from collections.abc import Callable
from pathlib import Path

FOLDERS = ("schemas", "runtime", "agents", "kernels")
PATH = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w/]+\.py)`")


def test_every_module_has_a_line(page: Callable[[str], str], root: Path) -> None:
    """A new module is described when it is added."""
    there = {
        str(path.relative_to(root))
        for folder in FOLDERS
        for path in (root / folder).rglob("*.py")
        if path.name != "__init__.py"
    }
    modules = page("docs/architecture.md").partition("## Modules\n")[2]
    lines = {
        folder + file
        for folder, section in re.findall(r"^### ([\w/]+/)\n(.*?)(?=^### |\Z)", modules, re.S | re.M)
        for file in re.findall(r"^- `(\w+\.py)`: \S", section, re.M)
    }
    assert sorted(there - lines) == [], "add these to docs/architecture.md"
    assert sorted(lines - there) == [], "remove these from docs/architecture.md"


def test_no_document_names_a_module_that_has_gone(root: Path) -> None:
    """A path in backquotes exists."""
    for document in [*root.glob("*.md"), *(root / "docs").rglob("*.md")]:
        for path in PATH.findall(document.read_text(encoding="utf-8")):
            assert (root / path).is_file(), f"{document.relative_to(root)} names {path}"
