"""The streams, for all tenants, and how they come to be.

Streams that owe work refuse when full and never forget; the others drop the oldest. A limit is a reservation on the
server, so they are sized for a laptop; ``ensure`` keeps those that somebody has raised.
"""

from typing import Final

from antiphon.runtime.bus.base import Bus, StreamSpec
from antiphon.schemas.subjects import Kind, every

_MIB = 1024 * 1024
_DAY_S = 86_400.0

TASKS: Final = StreamSpec(name="ANTIPHON_TASKS", subjects=(every(Kind.TASK),), max_bytes=1024 * _MIB, owes_work=True)
JOURNAL: Final = StreamSpec(
    name="ANTIPHON_JOURNAL", subjects=(every(Kind.JOURNAL),), max_bytes=1024 * _MIB, owes_work=True
)
RESULTS: Final = StreamSpec(
    name="ANTIPHON_RESULTS", subjects=(every(Kind.RESULT),), max_bytes=1024 * _MIB, owes_work=True
)
EVENTS: Final = StreamSpec(
    name="ANTIPHON_EVENTS", subjects=(every(Kind.EVENT),), max_bytes=256 * _MIB, max_age_s=7 * _DAY_S
)
# 100 MB were full after 13 s at 10,000 asks a second; readers count the gaps in the sequence.
TELEMETRY: Final = StreamSpec(
    name="ANTIPHON_TELEMETRY", subjects=(every(Kind.TELEMETRY),), max_bytes=256 * _MIB, max_age_s=_DAY_S
)
FINDINGS: Final = StreamSpec(
    name="ANTIPHON_FINDINGS", subjects=(every(Kind.FINDING),), max_bytes=64 * _MIB, max_age_s=90 * _DAY_S
)
# A dead letter is unfinished business: it waits for a person and is not forgotten either.
DEAD: Final = StreamSpec(name="ANTIPHON_DEAD", subjects=(every(Kind.DEAD),), max_bytes=256 * _MIB, owes_work=True)

STREAMS: Final = (TASKS, JOURNAL, RESULTS, EVENTS, TELEMETRY, FINDINGS, DEAD)


async def ensure_streams(bus: Bus) -> None:
    """Create or update all of ``STREAMS``. Idempotent; two processes may do it at once.

    Raises:
        ConfigurationError: a stream that owes work is there with limits that forget.
        BusUnavailable: no server, no JetStream, or no room.
    """
    for spec in STREAMS:
        await bus.streams.ensure(spec)
