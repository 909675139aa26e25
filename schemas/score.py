"""What somebody thinks of a task's result: a named number that travels as an event and ends in the store."""

from typing import Annotated, Final

from pydantic import Field

from antiphon.schemas.message import Message

TOPIC: Final = "antiphon.scores"


class Score(Message):
    """A judgement of one task: the newest of each ``name`` counts. What ``value`` means is the name's business."""

    task: str
    name: Annotated[str, Field(min_length=1, max_length=64)]
    value: Annotated[float, Field(allow_inf_nan=False)]
    comment: Annotated[str, Field(max_length=2_000)] = ""
    unix_ms: Annotated[int, Field(ge=0, lt=2**53)]
