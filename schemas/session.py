"""A conversation as the bus keeps it: a chain of nodes that never change, and one head that says where it ends."""

from pydantic import Field

from antiphon.schemas.inference import Turn
from antiphon.schemas.message import Value

MAX_BACK = 32  # addresses in one node: about 1.1 KB at most, half of that on average


class SessionNode(Value):
    """What was said at one time, and what came before. Its address is the hash of its JSON.

    ``back`` are the addresses of the nodes before it, the nearest first, so that a reader gets up to MAX_BACK of them
    at once. ``turn_count`` and ``tokens`` (estimated) are of the conversation so far, this node included. ``by`` is the
    operation that wrote it, ``task:path``.

    With ``covers`` above 0 its turns say nothing new: they sum up the first so many of the conversation.
    """

    back: tuple[str, ...] = Field(default=(), max_length=MAX_BACK)
    turns: tuple[Turn, ...] = Field(min_length=1)
    turn_count: int = Field(ge=0)
    tokens: int = Field(ge=0)
    by: str
    unix_ms: int
    covers: int = Field(default=0, ge=0)

    @property
    def first(self) -> int:
        """How many turns of the conversation came before this node's own."""
        return self.turn_count - (0 if self.covers else len(self.turns))

    def back_of_next(self, address: str) -> tuple[str, ...]:
        """``back`` of a node that follows this one, whose own address is given."""
        return (address, *self.back) if len(self.back) < MAX_BACK else (address,)


class SessionHead(Value):
    """Where a conversation ends now: the newest node of one key of one agent. ``tokens`` are estimated."""

    agent: str
    key: str
    node: str
    turn_count: int
    tokens: int
    updated_unix_ms: int
