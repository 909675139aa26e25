"""A long text in pieces whose borders its content decides: what is changed, added or removed touches one piece.

Content-defined chunking (Muthitacharoen et al., LBFS, SOSP'01) over sentences and lines instead of bytes.
"""

import re
import zlib

LEAST = 512  # characters of a piece; half the pieces are longer than twice this
MOST_PIECES = 64  # of one text, or so: longer texts have longer pieces

_UNITS = re.compile(r"[^\n.!?;]*[\n.!?;]+\s*|[^\n.!?;]+")


def pieces(text: str) -> list[str]:
    """The text cut at ends of sentences or lines, at least ``LEAST`` characters each but for the last."""
    if len(text) < 2 * LEAST:
        return [text]
    least = max(LEAST, len(text) // MOST_PIECES)
    found: list[str] = []
    start = 0
    for unit in _UNITS.finditer(text):
        end = unit.end()
        # One unit in four ends a piece, by its own content alone, or a change would move every later border.
        if end - start >= least and not zlib.crc32(unit[0].encode()) & 3:
            found.append(text[start:end])
            start = end
    if start < len(text):
        found.append(text[start:])
    return found
