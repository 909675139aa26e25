"""Lengths of time as users write them."""

import math
import re

from antiphon.runtime.errors import ConfigurationError

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(what: str, value: float | str) -> float:
    """``30``, ``"500ms"``, ``"30s"``, ``"10m"``, ``"2h"`` or ``"1d"`` in seconds; ``what`` names it in the error.

    Raises:
        ConfigurationError: anything else, or nothing above zero.
    """
    if isinstance(value, int | float):
        found = float(value)
    else:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", value)
        if match is None:
            raise ConfigurationError(f"{what} is {value!r}, expected seconds or a number with ms, s, m, h or d")
        found = float(match[1]) * _UNITS[match[2]]
    if not 0 < found < math.inf:
        raise ConfigurationError(f"{what} is {value!r}, expected a finite time above zero")
    return found
