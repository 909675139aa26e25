"""A document of any format to sections."""

from antiphon.agents.knowledge.formats import Format, format_of, text_of
from antiphon.agents.knowledge.readers.html import read_html
from antiphon.agents.knowledge.readers.markdown import read_markdown
from antiphon.agents.knowledge.readers.pdf import read_pdf
from antiphon.agents.knowledge.readers.text import read_text
from antiphon.agents.knowledge.sections import Section
from antiphon.runtime.errors import EmptyDocument, MissingExtra


def read_document(name: str, content: bytes) -> list[Section]:
    """The sections of a document, at least one.

    Raises:
        EmptyDocument, UnreadableDocument, WrongFormat: see errors.
        MissingExtra: the packages that read it are not installed.
    """
    format = format_of(name, content)
    try:
        if format is Format.PDF:
            return read_pdf(name, content)
        text = text_of(name, content, format)
        read = {Format.MARKDOWN: read_markdown, Format.HTML: read_html, Format.TEXT: read_text}[format]
        sections = read(text)
    except ImportError as error:
        raise MissingExtra(
            f"reading {format} needs {error.name}, which is not installed; pip install 'antiphon[knowledge]'"
        ) from error
    if not sections:
        raise EmptyDocument(f"{name}: there is no text in it", source=name)
    return sections
