"""Quantiles of durations in a few dozen integers."""

import math

import msgspec

_ACCURACY = 0.02
_GAMMA_LOG = math.log((1 + _ACCURACY) / (1 - _ACCURACY))
_FORM = msgspec.msgpack.Decoder(dict[int, int])


class Sketch:
    """Counts in logarithmic buckets: any quantile within 2 % of the true value, and sketches add up.

    DDSketch without collapsing (Masson, Rim, Lee: "DDSketch", VLDB 2019, section 2): bucket ``i`` holds values
    in (g^(i-1), g^i] with g = (1 + a) / (1 - a). Durations from 1 ns to a year touch at most 950 buckets.
    """

    __slots__ = ("counts",)

    def __init__(self, counts: dict[int, int] | None = None) -> None:
        self.counts = counts if counts is not None else {}

    def add(self, value: float) -> None:
        """Count one value; values below 1 count as 1."""
        index = math.ceil(math.log(value) / _GAMMA_LOG) if value > 1 else 0
        self.counts[index] = self.counts.get(index, 0) + 1

    def merge(self, other: "Sketch") -> None:
        """Take in everything ``other`` counted."""
        for index, count in other.counts.items():
            self.counts[index] = self.counts.get(index, 0) + count

    def quantile(self, share: float) -> float:
        """The smallest value that ``share`` (0 to 1) of all do not exceed; 0 when nothing was counted.

        By nearest rank: of two values the 95th percentile is the larger one.
        """
        left = max(math.ceil(share * sum(self.counts.values())), 1)
        for index in sorted(self.counts):
            left -= self.counts[index]
            if left <= 0:
                return 2 * math.exp(index * _GAMMA_LOG) / (1 + math.exp(_GAMMA_LOG))
        return 0.0

    def at_most(self, value: float) -> int:
        """How many were counted that are no larger, within 2 % of ``value``."""
        last = math.log(value) / _GAMMA_LOG if value > 1 else 0
        return sum(count for index, count in self.counts.items() if index <= last)

    def to_bytes(self) -> bytes:
        """Compact form for the store."""
        return msgspec.msgpack.encode(self.counts)

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Sketch":
        """The sketch that ``to_bytes`` wrote."""
        return cls(_FORM.decode(raw))
