"""PDF to sections: the text of each page, as far as the file has text."""

import io

from antiphon.agents.knowledge.formats import whole_characters
from antiphon.agents.knowledge.sections import Section
from antiphon.runtime.errors import EmptyDocument, UnreadableDocument


def read_pdf(name: str, content: bytes) -> list[Section]:
    """A section for each page that has text.

    Raises:
        EmptyDocument: no page has text, as in a scan.
        UnreadableDocument: damaged, or locked with a password.
    """
    from pypdf import PdfReader

    try:
        reader = PdfReader(io.BytesIO(content))
        pages = [whole_characters(page.extract_text()) for page in reader.pages]
        title = whole_characters(reader.metadata.title or "").strip() if reader.metadata is not None else ""
    except Exception as error:
        # Beside its own errors the parser lets any of Python's through when objects of the file are not what they
        # should be: of 6,500 files with garbled bytes some ended in AssertionError or NotImplementedError.
        raise UnreadableDocument(
            f"{name}: this PDF cannot be read ({error}): repair or unlock it", source=name
        ) from error
    sections = [
        Section(heading=(*((title,) if title else ()), f"page {number}"), text=text.strip())
        for number, text in enumerate(pages, start=1)
        if text.strip()
    ]
    if not sections:
        raise EmptyDocument(f"{name}: no page of this PDF has text; a scan needs text recognition first", source=name)
    return sections
