"""Work that is begun again and again, at times that a rule gives."""

from enum import StrEnum
from typing import Any

from antiphon.schemas.message import Value


class Missed(StrEnum):
    """What becomes of ticks that passed while no node ran."""

    LATEST = "latest"  # the newest of them is made up for, once
    SKIP = "skip"  # none is; a tick that is only a little late still counts


class Schedule(Value):
    """One schedule, in the bucket of schedules until somebody removes it.

    Either ``every_ms``: ticks are ``start_unix_ms`` and every so many milliseconds after it; or ``cron``: five fields,
    in UTC, from ``start_unix_ms`` on. ``body`` is the JSON of the message that every tick sends to ``agent.handler``,
    ``type`` and ``version`` its wire identity. Ticks up to ``handled_unix_ms`` have been sent or passed over.
    """

    name: str
    agent: str
    handler: str
    type: str
    version: int
    body: dict[str, Any]
    every_ms: int | None = None
    cron: str = ""
    start_unix_ms: int
    missed: Missed = Missed.LATEST
    handled_unix_ms: int
