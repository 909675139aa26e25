"""A document of any format to sections."""

import sys
from collections.abc import Callable

import pytest

from antiphon.agents.knowledge.readers.document import read_document
from antiphon.runtime.errors import EmptyDocument, MissingExtra


def test_each_format_has_its_reader(make_pdf: Callable[..., bytes]) -> None:
    """By suffix, once the content agrees."""
    assert read_document("a.md", b"# A\n\nx")[0].heading == ("A",)
    assert read_document("a.html", b"<h1>A</h1><p>x</p>")[0].heading == ("A",)
    assert read_document("a.pdf", make_pdf("x"))[0].heading == ("page 1",)
    text = read_document("a.txt", b"# A\n\nx\n")[0]
    assert (text.heading, text.text, text.first_line) == ((), "# A\n\nx\n", 1)


@pytest.mark.parametrize(("name", "content"), [("a.md", b"# Only\n## Headings"), ("a.html", b"<nav>menu</nav>")])
def test_a_document_without_text_is_empty(name: str, content: bytes) -> None:
    """However many bytes it has."""
    with pytest.raises(EmptyDocument, match="no text"):
        read_document(name, content)


@pytest.mark.parametrize(
    ("name", "content", "module"), [("a.html", b"<p>x", "selectolax.lexbor"), ("a.pdf", b"%PDF-1", "pypdf")]
)
def test_a_missing_package_is_named(name: str, content: bytes, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r"antiphon\[knowledge\]"):
        read_document(name, content)
