"""Every relative link in Markdown leads somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
FENCED = re.compile(r"^```.*?^```", re.S | re.M)


def anchors(text: str) -> set[str]:
    """The headings as the hosts of repositories make anchors of them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])
def test_links_lead_somewhere(document: Path) -> None:
    """Files exist, and an anchor names a heading of its file."""
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", document.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{link} leads nowhere"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{link}: no such heading"


def test_decisions_are_listed_and_in_form() -> None:
    """Each record is in the index, has a status, a date and the three sections, and is 40 to 90 lines long."""
    folder = ROOT / "docs" / "adr"
    index = (folder / "README.md").read_text(encoding="utf-8")
    for record in sorted(folder.glob("[0-9]*.md")):
        text = record.read_text(encoding="utf-8")
        assert f"]({record.name})" in index
        assert re.fullmatch(r"\d{3}-[a-z0-9-]+\.md", record.name)
        assert text.startswith(f"# {record.name[:3]}: ")
        assert re.search(r"^Status: (accepted|superseded by \d{3})$", text, re.M)
        assert re.search(r"^Date: \d{4}-\d{2}-\d{2}$", text, re.M)
        assert re.findall(r"^## (.+)$", text, re.M) == ["Context", "Decision", "Consequences"]
        assert 40 <= len(text.splitlines()) <= 90, record.name
