"""PDF to sections."""

import io
from collections.abc import Callable

import pytest

from antiphon.agents.knowledge.readers.pdf import read_pdf
from antiphon.runtime.errors import EmptyDocument, UnreadableDocument

Make = Callable[..., bytes]


def test_a_section_for_each_page_with_text(make_pdf: Make) -> None:
    """Numbered as a reader counts, under the title if it has one."""
    found = [(each.heading, each.text) for each in read_pdf("a.pdf", make_pdf("One", "", "Three", title="Guide"))]
    assert found == [(("Guide", "page 1"), "One"), (("Guide", "page 3"), "Three")]
    assert read_pdf("a.pdf", make_pdf("One"))[0].heading == ("page 1",)


def test_a_scan_has_no_text(make_pdf: Make) -> None:
    """That is said, with what it needs."""
    with pytest.raises(EmptyDocument, match="text recognition"):
        read_pdf("scan.pdf", make_pdf("", ""))


def test_a_damaged_or_locked_file_is_refused(make_pdf: Make) -> None:
    """Cut off, garbled inside, or encrypted: one kind of error, with the name."""
    from pypdf import PdfReader, PdfWriter

    whole = make_pdf("One")
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(whole)))
    writer.encrypt("secret", algorithm="RC4-128")
    locked = io.BytesIO()
    writer.write(locked)
    compressed = PdfWriter(clone_from=PdfReader(io.BytesIO(whole)))
    compressed.pages[0].compress_content_streams()
    odd = io.BytesIO()
    compressed.write(odd)
    for content in (
        b"%PDF-1.7\n",
        b"%PDF-1.4 junk\n%%EOF",
        whole.replace(b"/Pages", b"/Sagep"),
        locked.getvalue(),
        odd.getvalue().replace(b"/FlateDecode", b"/StaleDecode"),
    ):
        with pytest.raises(UnreadableDocument, match=r"a\.pdf: this PDF cannot be read") as caught:
            read_pdf("a.pdf", content)
        assert caught.value.details["source"] == "a.pdf"
