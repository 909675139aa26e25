"""What a document is: by its name, and by its bytes. Where the two disagree, it is refused."""

import codecs
import re
from enum import StrEnum
from pathlib import PurePath
from typing import Final

from antiphon.runtime.errors import EmptyDocument, UnreadableDocument, WrongFormat


class Format(StrEnum):
    """What can be read."""

    MARKDOWN = "Markdown"
    TEXT = "plain text"
    HTML = "HTML"
    PDF = "PDF"


SUFFIXES: Final = {
    ".md": Format.MARKDOWN,
    ".markdown": Format.MARKDOWN,
    ".txt": Format.TEXT,
    ".text": Format.TEXT,
    ".rst": Format.TEXT,
    ".html": Format.HTML,
    ".htm": Format.HTML,
    ".xhtml": Format.HTML,
    ".pdf": Format.PDF,
}

_HEAD: Final = 4096  # bytes in which a format shows itself
_HTML_PAGE: Final = re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype\s+html|html)\b", re.I | re.S)
_TAG: Final = re.compile(rb"<[a-z][a-z0-9]*[\s/>]", re.I)
_CHARSET: Final = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w.:-]+)", re.I)
_BOMS: Final = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_MAGIC: Final = {
    b"PK\x03\x04": "a ZIP archive (or an office document)",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"\x1f\x8b": "a gzip archive",
    b"\x7fELF": "a program",
    b"\xd0\xcf\x11\xe0": "an old office document",
    b"SQLite format 3": "an SQLite database",
}


def format_of(name: str, content: bytes) -> Format:
    """The format that the name promises, if the content keeps the promise.

    Raises:
        EmptyDocument: there is nothing in it.
        WrongFormat: a name that promises nothing we read, or a content that is something else.
    """
    suffix = PurePath(name).suffix.lower()
    promised = SUFFIXES.get(suffix)
    if promised is None:
        raise WrongFormat(f"{name}: found the suffix {suffix!r}, expected one of {', '.join(SUFFIXES)}", source=name)
    if not content.strip():
        raise EmptyDocument(f"{name}: there is nothing in it", source=name)
    found = _sniffed(content)
    kept = {
        Format.PDF: found is Format.PDF,
        Format.HTML: found is Format.HTML or (found is Format.TEXT and bool(_TAG.search(content))),
        Format.MARKDOWN: found is Format.TEXT,
        Format.TEXT: found is Format.TEXT,
    }
    if not kept[promised]:
        raise WrongFormat(f"{name}: found {found}, expected {promised}: rename it or convert it", source=name)
    return promised


def _sniffed(content: bytes) -> Format | str:
    """What the bytes are: HTML for a whole page, text for anything that could be, else what to call it."""
    head = content[:_HEAD]
    if b"%PDF-" in head[:1024]:  # readers accept some bytes before it, and so do the files there are
        return Format.PDF
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            return what
    if any(head.startswith(bom) for bom, _ in _BOMS[1:]):
        return Format.TEXT
    if b"\0" in head:
        return "binary data"
    return Format.HTML if _HTML_PAGE.match(head) else Format.TEXT


def text_of(name: str, content: bytes, format: Format) -> str:
    """The text of anything but a PDF: by its byte-order mark, an HTML page's own word, else UTF-8.

    Raises:
        UnreadableDocument: it is in another encoding; says where it breaks.
    """
    encoding = next((encoding for bom, encoding in _BOMS if content.startswith(bom)), "")
    declared = _CHARSET.search(content[:_HEAD]) if format is Format.HTML and not encoding else None
    if declared is not None:
        encoding = declared[1].decode("ascii", "replace")
    try:
        text = content.decode(encoding or "utf-8")
    except LookupError:
        raise UnreadableDocument(
            f"{name}: says it is in {encoding!r}, which is no known encoding", source=name
        ) from None
    except UnicodeError as error:
        at = f"{error.reason} at byte {error.start}" if isinstance(error, UnicodeDecodeError) else str(error)
        raise UnreadableDocument(
            f"{name}: is not {encoding or 'UTF-8'} ({at}): convert it to UTF-8", source=name
        ) from None
    return whole_characters(text).replace("\r\n", "\n").replace("\r", "\n")


def whole_characters(text: str) -> str:
    """Halves of characters (UTF-16's surrogates), which no UTF-8 has, put together, or replaced where one is alone.

    Texts of PDFs have them, and some encodings can write them.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
