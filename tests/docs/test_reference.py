"""Nothing that a user meets is undocumented, and nothing documented has gone."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from antiphon.agents.logging_agent.detectors.page import page as detectors_page
from antiphon.runtime.bus.topology import STREAMS
from antiphon.runtime.settings import PREFIX, Settings
from antiphon.schemas import envelope
from antiphon.schemas.catalogue import BUILT_IN
from antiphon.schemas.subjects import Kind, template

Page = Callable[[str], str]
HEADERS = [
    value
    for name, value in vars(envelope).items()
    if name.isupper() and not name.startswith("_") and isinstance(value, str)
]


def rows(text: str) -> list[str]:
    """The first cell of each table row."""
    return re.findall(r"^\| (`[^|]*`) \|", text, re.M)


def test_every_setting_has_a_row(page: Page) -> None:
    """Name, variable and default of each setting, and no row for one that has gone."""
    text = page("docs/settings.md")
    for name, field in Settings.model_fields.items():
        found = re.search(rf"^\| `{name}` \| `{PREFIX}{name.upper()}` \| (.*?) \|", text, re.M)
        assert found is not None, f"docs/settings.md has no row for {name}"
        if isinstance(field.default, bool | int | float | str):
            assert found[1] == f"`{str(field.default).lower()}`", f"docs/settings.md: the default of {name}"
    assert {row.strip("`") for row in rows(text)} == set(Settings.model_fields)


def test_every_message_has_a_row(page: Page) -> None:
    """Each type of the catalogue and telemetry batches, with version, and no other."""
    known = {f"{found.message_name}@{found.message_version}" for found in BUILT_IN} | {"TelemetryBatch@1"}
    assert {row.strip("`") for row in rows(page("docs/messages.md"))} == known


@pytest.mark.parametrize("kind", list(Kind))
def test_every_subject_has_a_row(page: Page, kind: Kind) -> None:
    """The template of each kind of subject stands in the table of subjects."""
    assert f"| `{template(kind)}` |" in page("docs/architecture.md")


@pytest.mark.parametrize("header", HEADERS)
def test_every_header_is_described(page: Page, header: str) -> None:
    """Each header that an envelope or a reply can have is in the table of headers."""
    assert f"`{header}`" in page("docs/architecture.md")


def test_every_stream_has_a_row(page: Page) -> None:
    """Each stream with its size, and no other."""
    text = page("docs/architecture.md")
    for spec in STREAMS:
        size = f"{spec.max_bytes // 2**30} GiB" if spec.max_bytes >= 2**30 else f"{spec.max_bytes // 2**20} MiB"
        assert re.search(rf"^\| `{spec.name}` \| {size}[ ,]", text, re.M), f"docs/architecture.md: {spec.name}, {size}"
    named = set(re.findall(r"^\| `(ANTIPHON_[A-Z]+)` \|", text, re.M))
    assert named == {spec.name for spec in STREAMS}


def test_every_bucket_is_described(page: Page, root: Path) -> None:
    """Each bucket that the runtime opens by name."""
    opened = set()
    for file in (root / "runtime").rglob("*.py"):
        opened |= set(re.findall(r'(?:open\(|BUCKET = )"(antiphon_[a-z_]+)"', file.read_text(encoding="utf-8")))
    assert opened
    assert {row.strip("`") for row in rows(page("docs/architecture.md")) if row.startswith("`antiphon_")} == opened


def test_the_page_of_detectors_is_what_they_say(page: Page) -> None:
    """`docs/detectors.md` is made of the docstrings, and each has all its parts."""
    made = detectors_page()
    assert page("docs/detectors.md") == made, "run `make docs`"
    for section in re.split(r"^## ", made, flags=re.M)[1:]:
        for part in ("What it is. ", "Evidence. ", "Guards. ", "Remedy. ", "What stays unseen. "):
            assert part in section, f"{section.splitlines()[0]} lacks {part!r}"
