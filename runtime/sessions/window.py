"""What of a conversation a model is shown. Pure.

The unit is the exchange: what a user says and everything up to the next time. A window never begins in the middle of
one, so it never parts a tool's result from its call, and models whose templates want a user first get one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from antiphon.runtime.errors import ConfigurationError
from antiphon.schemas.inference import Role, TextPart, ToolCall, ToolResult, Turn

BYTES_PER_TOKEN = 4  # English text with vocabularies of 32,000 to 150,000; other scripts have more bytes a character
TURN_TOKENS = 4  # what a chat template puts around a turn
LEAST_TOKENS, LEAST_TURNS = 256, 4  # of a window that summarises: below, a summary would have no room


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The newest exchanges: together at most ``tokens`` tokens (as ``tokens_of`` estimates) and ``turns`` turns.

    An exchange that does not fit whole is shown without its tool calls and results, and is then the oldest. One that
    does not fit even so is left out with all before it. ``turns`` None: any number.

    ``summarise``: what no longer fits is summed up by the agent's model, once, and the summary is shown first.

    Raises:
        ConfigurationError: a number that cannot be.
    """

    tokens: int = 2_000
    turns: int | None = None
    summarise: bool = False

    def __post_init__(self) -> None:
        tokens, turns = (LEAST_TOKENS, LEAST_TURNS) if self.summarise else (1, 1)
        if self.tokens < tokens:
            raise ConfigurationError(f"a window's tokens are {self.tokens}, expected {tokens} or more")
        if self.turns is not None and self.turns < turns:
            raise ConfigurationError(f"a window's turns are {self.turns}, expected {turns} or more, or None")

    def holds(self, turns: Sequence[Turn], *, times: int = 1) -> bool:
        """Whether all of these fit, or would if the window were so many times as large."""
        return tokens_of(turns) <= self.tokens * times and (self.turns is None or len(turns) <= self.turns * times)

    def cut(self, turns: Sequence[Turn], *, behind: Sequence[Turn] = ()) -> tuple[Turn, ...]:
        """What is shown, in order: the turns of ``behind``, which is a summary, and the newest of ``turns``."""
        shown: tuple[Turn, ...] = ()
        left = self.tokens - tokens_of(behind)
        room = len(turns) if self.turns is None else self.turns - len(behind)
        for exchange in reversed(exchanges(turns)):
            versions = (exchange, without_tools(exchange))
            found = next((one for one in versions if len(one) <= room and tokens_of(one) <= left), ())
            shown = (*found, *shown)
            left -= tokens_of(found)
            room -= len(found)
            if found is not exchange:
                break
        return (*behind, *shown)

    def overflow(self, summary: Sequence[Turn], turns: Sequence[Turn]) -> int:
        """How many of ``turns``, from the oldest, are to be summed up now: 0 while all fit behind ``summary``.

        What stays takes half of the window, so that the next time is a while away.
        """
        if self.holds((*summary, *turns)):
            return 0
        half = Window(tokens=self.tokens // 2, turns=None if self.turns is None else max(1, self.turns // 2))
        stays = 0
        for exchange in reversed(exchanges(turns)):
            if not half.holds(turns[len(turns) - stays - len(exchange) :]):
                break
            stays += len(exchange)
        return len(turns) - stays


def tokens_of(turns: Sequence[Turn]) -> int:
    """About how many tokens the turns have: a quarter of their bytes, and four for each turn."""
    return sum(TURN_TOKENS + -(-_bytes(turn) // BYTES_PER_TOKEN) for turn in turns)


def exchanges(turns: Sequence[Turn]) -> list[tuple[Turn, ...]]:
    """The turns, cut wherever a user speaks and no tool call is open that is answered later."""
    within = _within_calls(turns)
    starts = [at for at in range(1, len(turns)) if turns[at].role is Role.USER and at not in within]
    return [tuple(turns[a:b]) for a, b in zip([0, *starts], [*starts, len(turns)], strict=True) if a < b]


def without_tools(exchange: Sequence[Turn]) -> tuple[Turn, ...]:
    """What was said in words: tool calls and results left out, and turns that were nothing else."""
    spoken = (turn.model_copy(update={"parts": _words(turn)}) for turn in exchange)
    return tuple(turn for turn in spoken if turn.parts)


def _words(turn: Turn) -> tuple[TextPart, ...]:
    return tuple(part for part in turn.parts if isinstance(part, TextPart))


def _within_calls(turns: Sequence[Turn]) -> set[int]:
    """Places before which no cut may be: behind a call, up to its result."""
    called: dict[str, int] = {}
    within: set[int] = set()
    for at, turn in enumerate(turns):
        for part in turn.parts:
            if isinstance(part, ToolCall):
                called[part.id] = at
            elif isinstance(part, ToolResult) and part.id in called:
                within.update(range(called.pop(part.id) + 1, at + 1))
    return within


def _bytes(turn: Turn) -> int:
    total = 0
    for part in turn.parts:
        text = part.text if isinstance(part, TextPart) else part.model_dump_json()
        total += len(text.encode())
    return total
