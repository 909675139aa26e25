"""Prompts that are being computed, so that others with the same beginning wait for their pages or copy them."""

from typing import Final

from antiphon.runtime.engine.engine_config import PAGE_TOKENS
from antiphon.runtime.engine.entry import Entry

_WORTH: Final = 16  # tokens of a page: fewer are computed sooner than a page is copied and a step waited for


class Sharing:
    """Running requests by the names of the pages before those of their prompts: whoever has the same pages up to
    there, in the same salt, can look at what comes next."""

    def __init__(self) -> None:
        self._by_parent: dict[bytes, Entry] = {}

    def offer(self, entry: Entry) -> None:
        """``entry`` runs, and all whole pages of its prompt have names."""
        for parent in entry.keys[: len(entry.sequence.request.prompt) // PAGE_TOKENS + 1]:
            self._by_parent.setdefault(parent, entry)

    def withdraw(self, entry: Entry) -> None:
        """It no longer runs."""
        for parent in entry.keys[: len(entry.sequence.request.prompt) // PAGE_TOKENS + 1]:
            if self._by_parent.get(parent) is entry:
                del self._by_parent[parent]

    def common(self, entry: Entry, page: int, *, whole: int) -> tuple[Entry, int] | None:
        """Who has the same pages before ``page`` and goes on alike, and the position up to which: ``whole`` pages, or
        where that is 1 also part of one. The last token of ``entry`` never counts, as it has to be computed."""
        other = self._by_parent.get(entry.keys[page]) if self._by_parent else None
        if other is None or (other.sequence.request.batch and not entry.sequence.request.batch):
            return None
        if whole > 1:
            ahead = page + whole
            same = len(entry.keys) > ahead < len(other.keys) and entry.keys[ahead] == other.keys[ahead]
            position = ahead * PAGE_TOKENS
            computing = other.sequence.computed < position < len(entry.sequence.tokens)
            return (other, position) if same and computing else None
        first = page * PAGE_TOKENS
        mine = entry.sequence.tokens[first : min(first + PAGE_TOKENS, len(entry.sequence.tokens) - 1)]
        theirs = other.sequence.tokens[first : first + len(mine)]
        differ = (at for at, (left, right) in enumerate(zip(mine, theirs, strict=False)) if left != right)
        alike = next(differ, len(theirs))
        return (other, first + alike) if alike >= _WORTH else None
