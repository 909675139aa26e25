"""What the scheduler keeps of a request beside its sequence."""

from dataclasses import dataclass, field
from enum import Enum, auto

from antiphon.runtime.engine.engine_config import PAGE_TOKENS
from antiphon.runtime.engine.pages import page_key
from antiphon.runtime.engine.plan import Sequence
from antiphon.runtime.engine.programs import Program
from antiphon.runtime.engine.tenancy import Tenant


class State(Enum):
    """Where a request is. ``Scheduler.add`` begins it; finish and abort end it from anywhere."""

    WAITING = auto()  # in line; a step makes it running, or following
    FOLLOWING = auto()  # a running request computes pages that it wants; once they are there it is in line again
    RUNNING = auto()  # has pages for all its tokens; put back, it is in line again
    ENDED = auto()


@dataclass(eq=False, slots=True, kw_only=True)
class Entry:
    """A request between add and finish. ``keys``: where its chain starts, then the names of its pages, as known."""

    sequence: Sequence
    program: Program
    tenant: Tenant
    number: int  # in order of arrival
    limit: int  # tokens it can have, prompt and output
    keys: list[bytes]
    arrived_s: float
    state: State = State.WAITING
    scheduled_s: float | None = None  # when it first got a row
    held_until_s: float = 0.0  # how long what is computed of it is held while it waits
    admitted_s: float = 0.0  # when it last began to run
    charged: int = 0  # prompt tokens that were paid for, or cached
    indexed: int = 0  # of its pages, those offered to the prefix index
    copy: tuple[int, int] | None = None  # (from, to) page, before its next row
    followers: list[tuple[int, "Entry"]] = field(default_factory=list)  # (tokens to wait for, who waits)

    @property
    def left(self) -> int:
        """Tokens that are known but not computed."""
        return len(self.sequence.tokens) - self.sequence.computed

    def by_tokens(self, invariant: bool) -> bool:
        """Whether its next row has one known token: a decode, or with batch_invariant output that is computed again, as
        it was at first."""
        sequence = self.sequence
        computed = sequence.computed
        return computed + 1 == len(sequence.tokens) or (invariant and computed >= len(sequence.request.prompt))

    def spare(self, now_s: float) -> bool:
        """Whether it only gets what all others leave."""
        return self.sequence.request.batch and not self.tenant.guaranteed(now_s)

    def names(self, pages: int) -> list[bytes]:
        """The names of the first ``pages`` pages, whose ids must all be known."""
        tokens, keys = self.sequence.tokens, self.keys
        for page in range(len(keys) - 1, pages):
            keys.append(page_key(keys[-1], tokens[page * PAGE_TOKENS : (page + 1) * PAGE_TOKENS]))
        return keys[1 : pages + 1]
