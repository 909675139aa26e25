"""The terminal, to which nothing that was recorded can give orders."""

import unicodedata
from collections.abc import Iterable
from typing import Final

from rich import console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

_KEPT: Final = frozenset("\n\t\u200d")  # the joiner of letters and emoji is no order
_ORDERS: Final = ("Cc", "Cf")  # control characters; marks that turn the direction of what follows


def printable(text: str) -> str:
    """Without control characters: nobody's words may move the cursor, change colours or write from right to left."""
    if text.isprintable():
        return text
    return "".join(each for each in text if each in _KEPT or unicodedata.category(each) not in _ORDERS)


class Console(console.Console):
    """Rich's, which draws names, errors and replies of strangers as text.

    What is taken out has no width there, so tables stay straight.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Rich's own method: segments of text with a style, or orders that Rich itself gives."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)
