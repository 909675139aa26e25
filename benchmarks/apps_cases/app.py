"""What an application of the benchmark is."""

from collections.abc import Callable
from dataclasses import dataclass

from plants.plant import Build
from plants.world import World

Advice = frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """``plain`` is given the patterns whose advice, which is words and no policy, is followed in its code.

    ``follows``: the patterns for which it has such an edit. ``tuned``: the version by hand.
    """

    name: str
    plain: Callable[[World, Advice], Build]
    tuned: Callable[[World], Build]
    follows: Advice
