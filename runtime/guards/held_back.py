"""Text that was held back until a guard had seen all of it."""

from collections.abc import Awaitable, Callable
from typing import Final

PIECE: Final = 16_384  # characters: a stream's item may have six times as many


async def show_whole(show: Callable[[str], Awaitable[None]], text: str) -> None:
    """Show the text at once, in pieces that a stream can carry."""
    for at in range(0, len(text), PIECE):
        await show(text[at : at + PIECE])
