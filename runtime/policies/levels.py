"""Which number a run's next model call has, by what the run has had of models: levels that double."""

import math
from typing import Final

from antiphon.runtime.engine.programs import AGING

LEVELS: Final = 8
FIRST_S: Final = 0.5  # of service: up to here a run has the highest number; each further level is twice as long


def level(attained_s: float, age_s: float) -> int:
    """0 to LEVELS - 1, higher first; age, since the run's first call, makes up for service as it does in the engine.

    Least attained service first in levels, as Autellix has it (arXiv 2502.13965).
    """
    left_s = attained_s - AGING * age_s
    passed = 0 if left_s < FIRST_S else 1 + int(math.log2(left_s / FIRST_S))
    return max(0, LEVELS - 1 - passed)
