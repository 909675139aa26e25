"""The streams, for all tenants, and how they come to be.

Streams that owe work refuse when full and never forget; the others drop the oldest. A limit is a reservation on the
server, so they are sized for a laptop; ``ensure`` keeps those that somebody has raised.
"""

from collections.abc import Iterable
from typing import Final

from antiphon.runtime.bus.base import Bus, StreamSpec
from antiphon.runtime.bus.matching import matches
from antiphon.runtime.errors import ConfigurationError
from antiphon.schemas.subjects import Kind, every

_MIB = 1024 * 1024
_DAY_S = 86_400.0

TASKS: Final = StreamSpec(name="ANTIPHON_TASKS", subjects=(every(Kind.TASK),), max_bytes=1024 * _MIB, owes_work=True)
JOURNAL: Final = StreamSpec(
    name="ANTIPHON_JOURNAL",
    subjects=(every(Kind.JOURNAL),),
    max_bytes=1024 * _MIB,
    owes_work=True,
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

# What was said is not forgotten either; whoever keeps no conversations pays nothing but the reservation.
SESSIONS: Final = StreamSpec(
    name="ANTIPHON_SESSIONS", subjects=(every(Kind.SESSION),), max_bytes=256 * _MIB, owes_work=True
)

# What the server says about work it will not hand out again. Nobody but a stream keeps that (captured by nats-server
# 2.15; seen). The tail of the subject is the consumer.
ADVISORIES: Final = StreamSpec(
    name="ANTIPHON_ADVISORIES",
    subjects=tuple(
        f"$JS.EVENT.ADVISORY.CONSUMER.{event}.{TASKS.name}.>" for event in ("MAX_DELIVERIES", "MSG_TERMINATED")
    ),
    max_bytes=16 * _MIB,
    max_age_s=30 * _DAY_S,
)

STREAMS: Final = (TASKS, JOURNAL, RESULTS, EVENTS, TELEMETRY, FINDINGS, DEAD, SESSIONS, ADVISORIES)


async def ensure_streams(bus: Bus) -> None:
    """Create or update all of ``STREAMS``. Idempotent; two processes may do it at once.

    Raises:
        ConfigurationError: a stream that owes work is there with limits that forget.
        BusUnavailable: no server, no JetStream, or no room.
    """
    for spec in STREAMS:
        await bus.streams.ensure(spec)


async def check_durable(bus: Bus, subjects: Iterable[str]) -> None:
    """That every one of ``subjects`` is kept by a stream that owes work and is there: whoever starts up asks first.

    Raises:
        ConfigurationError: one is not; it and what to do are named.
        BusUnavailable: no server, or the stream is missing there.
    """
    keepers = [spec for spec in STREAMS if spec.owes_work]
    found: set[str] = set()
    for subject in subjects:
        keeper = next((spec for spec in keepers if any(matches(one, subject) for one in spec.subjects)), None)
        if keeper is None:
            kept = ", ".join(one for spec in keepers for one in spec.subjects)
            raise ConfigurationError(
                f"subject {subject!r} must be durable but no stream that owes work takes it; expected one of {kept}",
                subject=subject,
            )
        found.add(keeper.name)
    for name in sorted(found):
        await bus.inspector.usage(name)
