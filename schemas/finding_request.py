"""What people ask of the logging agent about one finding; it answers with the finding as it then is."""

from typing import Annotated

from pydantic import Field

from antiphon.schemas.message import Message
from antiphon.schemas.policy import Level


class ApplyFinding(Message):
    """Put the remedy of finding ``finding`` at ``level``; at suggest: take it back.

    ``share`` of runs are treated at level canary. ``sure``: also where the remedy is not proven to leave results alone.
    """

    finding: str
    level: Level = Level.CANARY
    share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    by: str = ""
    sure: bool = False


class DismissFinding(Message):
    """Do not report the finding again for a week, and take its remedy back if it is applied."""

    finding: str
    reason: str = ""
    by: str = ""
