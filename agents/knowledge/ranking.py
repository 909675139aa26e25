"""Two rankings become one."""

from collections.abc import Sequence
from typing import Final

# Reciprocal rank fusion: G. V. Cormack, C. L. A. Clarke, S. Büttcher, "Reciprocal rank fusion outperforms Condorcet and
# individual rank learning methods", SIGIR 2009; 60 is the constant of that paper. It needs no scores that compare,
# which a distance between vectors and a BM25 value do not.
RRF_CONSTANT: Final = 60


def fused(*rankings: Sequence[str]) -> dict[str, float]:
    """Each id's score, 1 / (60 + rank) summed over the rankings it is in (ranks from 1), the best first."""
    scores: dict[str, float] = {}
    for ranking in rankings:
        for rank, id in enumerate(ranking, start=1):
            scores[id] = scores.get(id, 0.0) + 1.0 / (RRF_CONSTANT + rank)
    return dict(sorted(scores.items(), key=lambda item: -item[1]))
