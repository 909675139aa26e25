"""The page about evidence names every fact, and the detectors that use it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from antiphon.runtime.telemetry import attributes


@pytest.fixture
def rows(page: Callable[[str], str]) -> dict[str, frozenset[str]]:
    """Detectors by attribute, as the table has them."""
    found = re.findall(r"^\| `([a-z0-9_.]+)` \| [^|]+ \|([^|]*)\|$", page("docs/evidence.md"), re.M)
    return {name: frozenset(re.findall(r"P\d+", listed)) for name, listed in found}


def constants(root: Path) -> dict[str, str]:
    """The evidence block of attributes.py: constant -> attribute."""
    source = (root / "runtime/telemetry/attributes.py").read_text()
    block = source.partition("# [ours] evidence for detectors\n")[2].partition("\n\n")[0]
    return {name: getattr(attributes, name) for name in re.findall(r"^([A-Z_]+): Final", block, re.M)}


def test_the_table_has_every_fact_and_no_other(rows: dict[str, frozenset[str]], root: Path) -> None:
    """One row for each constant of the evidence block."""
    assert sorted(rows) == sorted(constants(root).values())


def test_a_detector_is_named_wherever_it_reads_the_fact_itself(rows: dict[str, frozenset[str]], root: Path) -> None:
    """What a detector's file reads by name is in its row; what its helpers read may be there too."""
    names = constants(root)
    for file in (root / "agents/logging_agent/detectors").glob("p*_*.py"):
        pattern = file.name.partition("_")[0].upper()
        used = {names[name] for name in re.findall(r"\battr\.([A-Z_]+)\b", file.read_text()) if name in names}
        missing = sorted(name for name in used if pattern not in rows[name])
        assert not missing, f"docs/evidence.md: add {pattern} to {missing}"
