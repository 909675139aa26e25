"""Sections to chunks: what is embedded, found and quoted as one piece."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from antiphon.agents.knowledge.sections import Section

CHUNK_CHARS: Final = (
    600  # of our own documents no piece of this size exceeds the 256 tokens that MiniLM reads; 900: 12 %
)


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A piece of a section that has an address.

    ``id`` (32 hexadecimal digits) follows from the document's name, the heading and the text, and from nothing else: a
    chunk that only moved within its document keeps it, and with it its vector.
    """

    id: str
    source: str
    heading: tuple[str, ...]
    text: str
    first_line: int
    last_line: int

    @property
    def embedded_text(self) -> str:
        """What is turned into a vector and into words: a passage out of context often does not say what it is about."""
        return f"{' > '.join(self.heading)}\n{self.text}" if self.heading else self.text


def chunks_of(source: str, sections: Sequence[Section], *, most_chars: int = CHUNK_CHARS) -> list[Chunk]:
    """The sections in pieces of at most ``most_chars`` characters, cut where it hurts least."""
    found: list[Chunk] = []
    seen: Counter[str] = Counter()
    for section in sections:
        for first, last, text in _pieces(section.text, most_chars):
            content = "\0".join((source, *section.heading, text))
            seen[content] += 1  # the same text twice under one heading is two chunks
            id = hashlib.sha256(f"{content}\0{seen[content]}".encode()).hexdigest()[:32]
            found.append(
                Chunk(
                    id=id,
                    source=source,
                    heading=section.heading,
                    text=text,
                    first_line=section.first_line + first if section.first_line else 0,
                    last_line=section.first_line + last if section.first_line else 0,
                )
            )
    return found


def _pieces(text: str, most_chars: int) -> Iterator[tuple[int, int, str]]:
    """(first line, last line, text) of pieces, lines counted from 0: whole paragraphs, else whole lines, else words."""
    held: list[tuple[int, str]] = []  # lines of the open piece
    for block in _blocks(text.split("\n"), most_chars):
        if held and _size(held) + _size(block) > most_chars:
            yield from _piece(held)
            held = []
        held += block
    yield from _piece(held)


def _piece(lines: Sequence[tuple[int, str]]) -> Iterator[tuple[int, int, str]]:
    full = [at for at, (_, line) in enumerate(lines) if line.strip()]
    if full:
        kept = lines[full[0] : full[-1] + 1]
        yield kept[0][0], kept[-1][0], "\n".join(line for _, line in kept)


def _size(lines: Sequence[tuple[int, str]]) -> int:
    return sum(len(line) + 1 for _, line in lines)


def _blocks(lines: Sequence[str], most_chars: int) -> Iterator[list[tuple[int, str]]]:
    """Paragraphs with the empty lines before them; one that is too long line by line, a line piece by piece."""
    block: list[tuple[int, str]] = []
    for number, line in enumerate(lines):
        if not line.strip() and any(text.strip() for _, text in block):
            yield from _fitting(block, most_chars)
            block = []
        block.append((number, line))
    yield from _fitting(block, most_chars)


def _fitting(block: list[tuple[int, str]], most_chars: int) -> Iterator[list[tuple[int, str]]]:
    if _size(block) <= most_chars:
        yield block
        return
    for number, line in block:
        for part in re.findall(rf".{{1,{most_chars - 1}}}(?:\s+|$)|.{{1,{most_chars - 1}}}", line) or [""]:
            yield [(number, part.rstrip())]
