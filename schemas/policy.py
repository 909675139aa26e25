"""A remedy as data: nodes watch the policies bucket and their interceptors change behaviour."""

from enum import StrEnum
from typing import Any

from pydantic import Field

from antiphon.schemas.message import Message


class Level(StrEnum):
    """The ladder a policy climbs."""

    SUGGEST = "suggest"  # shown, does nothing
    SHADOW = "shadow"  # computes both, serves the old
    CANARY = "canary"  # serves a share of runs
    ON = "on"  # serves all


class Policy(Message):
    """What an interceptor does differently, for whom, and how far it may go."""

    id: str
    kind: str  # cache, single_flight, hedge, …: the interceptor's name
    agent: str | None = None  # None: every agent
    handler: str | None = None
    level: Level = Level.SUGGEST
    share: float = Field(default=0.0, ge=0.0, le=1.0)  # of runs, at level canary
    params: dict[str, Any] = Field(default_factory=dict)
    finding: str | None = None
