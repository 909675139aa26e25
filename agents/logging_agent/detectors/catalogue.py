"""Which detectors there are: every module here that is named after a pattern. A new one touches one file."""

import importlib
import pkgutil
import random
import re
from collections.abc import Callable
from functools import cache

from antiphon.agents.logging_agent import detectors
from antiphon.agents.logging_agent.detectors.base import Detector

_NAMED = re.compile(r"(p\d+)_\w+")


@cache
def catalogue() -> dict[str, Callable[[random.Random], Detector]]:
    """Each pattern's ``DETECTOR``, by pattern, in the patterns' order."""
    found = {}
    for module in pkgutil.iter_modules(detectors.__path__):
        named = _NAMED.fullmatch(module.name)
        if named is not None:
            found[named[1]] = importlib.import_module(f"{detectors.__name__}.{module.name}").DETECTOR
    return dict(sorted(found.items(), key=lambda item: int(item[0][1:])))


def make(rng: random.Random) -> list[Detector]:
    """One of each, each with its own stream of random numbers for the bootstrap."""
    return [kind(random.Random(rng.getrandbits(64))) for kind in catalogue().values()]
