"""How much may be done beside the ordinary work: a share of it, saved up for a while."""

from collections import OrderedDict
from typing import Final

SAVED: Final = 10.0  # tokens: what a quiet time may leave for a bad one
_PURSES: Final = 256  # policies; whoever comes back after so many others begins anew
_ROUNDING: Final = 1e-9  # ten tenths are a little less than one


class Tokens:
    """Every call earns a share of a token, everything extra takes a whole one.

    So of any number of calls in a row at most that share, and what was saved before, have something extra: gRPC's
    retry throttling (proposal A6).
    """

    __slots__ = ("left",)

    def __init__(self, left: float) -> None:
        self.left = left

    def earn(self, share: float) -> None:
        """Count one call."""
        self.left = min(SAVED, self.left + share)

    def take(self) -> bool:
        """Whether there is a token for something extra; it is then gone."""
        if self.left < 1.0 - _ROUNDING:
            return False
        self.left -= 1.0
        return True


class Purses:
    """Tokens of policies by id; a new one has ``start`` of them."""

    def __init__(self, start: float) -> None:
        self._start = start
        self._found: OrderedDict[str, Tokens] = OrderedDict()

    def of(self, policy: str) -> Tokens:
        """The policy's own."""
        tokens = self._found.setdefault(policy, Tokens(self._start))
        self._found.move_to_end(policy)
        if len(self._found) > _PURSES:
            self._found.popitem(last=False)
        return tokens
