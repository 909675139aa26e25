"""Tokens seen before, indexed by what came just before them: the match finder of LZ77 compressors."""

from array import array
from collections.abc import Iterable, Sequence

KEY_TOKENS = 3  # the shortest match: two tokens repeat by chance in any text
LONGEST_MATCH = 32
_CANDIDATES = 8  # places looked at, the latest first
_BREAK = -1  # between two texts


class TokenHistory:
    """The last ``capacity`` tokens (a power of two) of one text or of many, at 28 bytes a token."""

    def __init__(self, capacity: int) -> None:
        self._mask = capacity - 1
        self._buckets = 2 * capacity - 1
        self._tokens = array("i", [_BREAK]) * capacity
        self._latest = array("q", [-1]) * (self._buckets + 1)  # by hash of three tokens: where the fourth lies
        self._earlier = array("q", [-1]) * capacity  # the place before, of the same hash
        self._run: tuple[int, ...] = ()  # the last tokens since a break, three at most
        self.end = 0  # tokens ever taken in

    def extend(self, tokens: Iterable[int]) -> None:
        """Take in more of the text."""
        for token in tokens:
            slot = self.end & self._mask
            if len(self._run) == KEY_TOKENS:
                bucket = hash(self._run) & self._buckets
                self._earlier[slot] = self._latest[bucket]
                self._latest[bucket] = self.end
            self._tokens[slot] = token
            self._run = (*self._run[1 - KEY_TOKENS :], token)
            self.end += 1

    def end_text(self) -> None:
        """What comes next does not continue what came before."""
        self._tokens[self.end & self._mask] = _BREAK
        self._run = ()
        self.end += 1

    def match(self, suffix: Sequence[int]) -> tuple[int, int]:
        """(where it goes on, how many tokens match) for the longest end of ``suffix`` seen; the latest of equals.

        Less than KEY_TOKENS match: (0, 0).
        """
        place, longest = 0, 0
        if len(suffix) < KEY_TOKENS:
            return place, longest
        candidate = self._latest[hash(tuple(suffix[-KEY_TOKENS:])) & self._buckets]
        for _ in range(_CANDIDATES):
            # A slot is written again once the text has gone round; a text matches as far as it is still there.
            oldest = max(0, self.end - self._mask - 1)
            if candidate - KEY_TOKENS < oldest:
                break
            length = 0
            most = min(len(suffix), LONGEST_MATCH, candidate - oldest)
            while length < most and self._tokens[(candidate - 1 - length) & self._mask] == suffix[-1 - length]:
                length += 1
            if length >= KEY_TOKENS and length > longest:
                place, longest = candidate, length
            candidate = self._earlier[candidate & self._mask]
        return place, longest

    def following(self, place: int, most: int) -> list[int]:
        """What came from ``place`` on, to the end of its text. A text that runs into its own end goes round."""
        found: list[int] = []
        for at in range(place, place + most):
            token = self._tokens[at & self._mask] if at < self.end else found[at - self.end]
            if token == _BREAK:
                break
            found.append(token)
        return found
