"""How long a callee's results stay good: how often a later result equalled an earlier one, by age."""

import math
from bisect import bisect_left
from dataclasses import dataclass, field

MIN_PAIRS = 30
MIN_AGREEMENT = 0.99
MOST_S = 86_400.0  # the longest ttl that a policy takes

_EDGES_S = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 21_600, MOST_S)


@dataclass(slots=True)
class _Bucket:
    pairs: int = 0
    agreed: int = 0
    oldest_s: float = 0.0


@dataclass(slots=True)
class Staleness:
    """Pairs of results of equal work, counted by how old the earlier one was when the later one was asked for."""

    _buckets: list[_Bucket] = field(default_factory=lambda: [_Bucket() for _ in _EDGES_S])

    def note(self, age_s: float, agreed: bool) -> None:
        """One pair; of an age that no ttl may reach, nothing is kept."""
        if not 0 <= age_s <= MOST_S:
            return
        bucket = self._buckets[bisect_left(_EDGES_S, age_s)]
        bucket.pairs += 1
        bucket.agreed += agreed
        bucket.oldest_s = max(bucket.oldest_s, age_s)

    def ttl_s(self) -> float | None:
        """The largest age, to two digits, up to which 99 % of the pairs agreed, at least 30 at each age.

        Ages are walked upwards, neighbours taken together until they have 30 pairs. None where not even the youngest
        results are known to be good.
        """
        good_s = oldest_s = 0.0
        pairs = agreed = 0
        for bucket in self._buckets:
            pairs += bucket.pairs
            agreed += bucket.agreed
            oldest_s = max(oldest_s, bucket.oldest_s)
            if pairs < MIN_PAIRS:
                continue
            if agreed < MIN_AGREEMENT * pairs:
                break
            good_s, pairs, agreed = oldest_s, 0, 0
        return _two_digits(good_s) if good_s >= 0.001 else None


def _two_digits(value: float) -> float:
    """Rounded down, so that nothing is claimed beyond what was seen."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return round(math.floor(value / unit) * unit, 6)
