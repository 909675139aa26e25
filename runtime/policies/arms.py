"""Which operations a policy treats: a pure function of the policy, the run and the time.

At level canary by a hash, as online experiments do (Kohavi et al., Trustworthy Online Controlled Experiments, 2020):
whoever reads a trace later finds the same arms. Time slices are switchback arms, for pools that treated and untreated
runs would share (Bojinov et al., Management Science 2023).
"""

from enum import StrEnum
from hashlib import blake2b
from typing import Final

from antiphon.schemas.policy import Arms, Level, Policy

_ALL: Final = 2**64


class Arm(StrEnum):
    """What a policy does to one operation, as spans say it."""

    TREATED = "treated"  # the policy is at work
    CONTROL = "control"  # it is tried on others, and this is what they are compared with
    SHADOW = "shadow"  # as before, and the new way is computed beside it
    OFF = "off"  # it does nothing to anybody


def arm_of(policy: Policy, run: str, unix_ms: int) -> Arm:
    """The arm of an operation of ``run`` that begins at ``unix_ms``; the same on every node."""
    match policy.level:
        case Level.SUGGEST:
            return Arm.OFF
        case Level.SHADOW:
            return Arm.SHADOW
        case Level.ON:
            return Arm.TREATED
        case Level.CANARY:
            unit = run if policy.arms is Arms.RUN else str(slice_of(policy, unix_ms))
            digest = blake2b(f"{policy.id}\0{unit}".encode(), digest_size=8).digest()
            return Arm.TREATED if int.from_bytes(digest) < policy.share * _ALL else Arm.CONTROL


def slice_of(policy: Policy, unix_ms: int) -> int:
    """The number of the time slice, of ``slice_s`` each, counted from the epoch."""
    return int(unix_ms // (policy.slice_s * 1000))
