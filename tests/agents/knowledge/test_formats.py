"""What a document is, by its name and by its bytes."""

import pytest

from antiphon.agents.knowledge.formats import Format, format_of, text_of, whole_characters
from antiphon.runtime.errors import EmptyDocument, UnreadableDocument, WrongFormat

PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj"
PAGE = b"<!-- saved --><!DOCTYPE html><html><body><p>Hi</p></body></html>"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
ZIP = b"PK\x03\x04\x14\0\6\0word/document.xml"


@pytest.mark.parametrize(
    ("name", "content", "format"),
    [
        ("a.md", b"# Title\n\ntext", Format.MARKDOWN),
        ("a.MARKDOWN", b'<p align="center">a picture</p>\n\n# Title', Format.MARKDOWN),
        ("a.txt", b"1 < 2", Format.TEXT),
        ("a.txt", "\ufeffwith a mark".encode("utf-16"), Format.TEXT),
        ("a.html", PAGE, Format.HTML),
        ("a.htm", b"<p>a piece of a page", Format.HTML),
        ("a.pdf", PDF, Format.PDF),
        ("a.pdf", b"\n\n" + PDF, Format.PDF),
    ],
)
def test_a_name_that_keeps_its_promise(name: str, content: bytes, format: Format) -> None:
    """The format of the suffix, in any case of letters."""
    assert format_of(name, content) is format


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.md", PDF, "found PDF, expected Markdown"),
        ("a.md", PAGE, "found HTML, expected Markdown"),
        ("a.txt", PNG, "found a PNG image, expected plain text"),
        ("a.txt", ZIP, r"found a ZIP archive \(or an office document\), expected plain text"),
        ("a.txt", b"abc\0def", "found binary data, expected plain text"),
        ("a.pdf", b"# not a PDF", "found plain text, expected PDF"),
        ("a.pdf", PAGE, "found HTML, expected PDF"),
        ("a.html", b"no tag, 1 < 2", "found plain text, expected HTML"),
        ("a.html", PDF, "found PDF, expected HTML"),
        ("a.docx", ZIP, r"found the suffix '\.docx', expected one of \.md"),
        ("README", b"text", "found the suffix ''"),
    ],
)
def test_a_name_that_lies(name: str, content: bytes, found: str) -> None:
    """What it is, what it should be, and which document."""
    with pytest.raises(WrongFormat, match=found) as caught:
        format_of(name, content)
    assert caught.value.details["source"] == name


@pytest.mark.parametrize("content", [b"", b" \n\t\r\n"])
def test_an_empty_document(content: bytes) -> None:
    """White space is nothing."""
    with pytest.raises(EmptyDocument, match=r"a\.md"):
        format_of("a.md", content)


@pytest.mark.parametrize(
    ("content", "format"),
    [
        ("grüße\r\nan alle\rda".encode(), Format.TEXT),
        ("\ufeffgrüße\nan alle\nda".encode(), Format.MARKDOWN),
        ("\ufeffgrüße\nan alle\nda".encode("utf-16-le"), Format.TEXT),
    ],
)
def test_text_by_its_encoding(content: bytes, format: Format) -> None:
    """UTF-8, or what its mark says; line ends become one kind."""
    assert text_of("a.txt", content, format) == "grüße\nan alle\nda"


def test_a_page_says_its_encoding() -> None:
    """As old pages do."""
    page = '<meta http-equiv="Content-Type" content="text/html; charset=iso-8859-1"><p>grüße'
    assert text_of("a.html", page.encode("latin-1"), Format.HTML) == page


@pytest.mark.parametrize(
    ("content", "format", "says"),
    [
        ("grüße".encode("latin-1"), Format.TEXT, r"a is not UTF-8 \(invalid start byte at byte 2\): convert it"),
        (b'<meta charset="utf-8"><p>\xff', Format.HTML, "a is not utf-8"),
        (b'<meta charset="klingon"><p>x', Format.HTML, "no known encoding"),
        (b'<meta charset="undefined"><p>x', Format.HTML, "a is not undefined"),
    ],
)
def test_another_encoding(content: bytes, format: Format, says: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(UnreadableDocument, match=says.replace("a is", "a: is")):
        text_of("a", content, format)


def test_halves_of_characters_are_put_together_or_replaced() -> None:
    """No text that is kept has any: UTF-8 could not carry it."""
    page = b'<meta charset="utf-7"><p>+2AA-'
    assert text_of("a.html", page, Format.HTML).endswith("<p>\ufffd")
    assert whole_characters("\ud83e\udd8a and \ud83e alone") == "\U0001f98a and \ufffd alone"
