"""A remedy as data: nodes watch the policies bucket and their interceptors change behaviour."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from antiphon.schemas.message import Message, Value

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Cache(Value):
    """Answer repeated work from its last result, while that is at most ``ttl_s`` old. Never across tenants."""

    kind: Literal["cache"] = "cache"
    ttl_s: Seconds


class SingleFlight(Value):
    """Equal work that is under way is waited for, not begun again."""

    kind: Literal["single_flight"] = "single_flight"


class Batch(Value):
    """Calls of one tool or of a model's ``embed`` within a window become one: for tools that declare ``batch``."""

    kind: Literal["batch"] = "batch"
    window_s: Annotated[float, Field(gt=0, le=1)]
    most: Annotated[int, Field(ge=2, le=1_024)] = 64


class Hedge(Value):
    """A second attempt beside one that lasts longer than ``delay_s``; the first answer wins, the other is stopped.

    At most ``budget`` of all calls are hedged.
    """

    kind: Literal["hedge"] = "hedge"
    delay_s: Seconds
    budget: Annotated[float, Field(gt=0, le=0.5)] = 0.05


class Retry(Value):
    """Failures that another attempt may mend are tried again here, ``attempts`` times in all; 1: never here."""

    kind: Literal["retry"] = "retry"
    attempts: Annotated[int, Field(ge=1, le=10)]
    backoff_s: Annotated[float, Field(ge=0, le=60)] = 0.2


class Timeout(Value):
    """Waits at most ``timeout_s``, whatever the code says; never past the deadline."""

    kind: Literal["timeout"] = "timeout"
    timeout_s: Seconds


class Concurrency(Value):
    """An agent's slots on each node."""

    kind: Literal["concurrency"] = "concurrency"
    slots: Annotated[int, Field(ge=1, le=10_000)]


class Parallelise(Value):
    """The declared steps of a pipeline that need nothing of one another run together, at most ``most`` at once."""

    kind: Literal["parallelise"] = "parallelise"
    most: Annotated[int, Field(ge=2, le=64)] = 8


class Route(Value):
    """Another model answers."""

    kind: Literal["route"] = "route"
    model: str


class Affinity(Value):
    """Prompts with the same beginning go to the same replica, while none has more than ``imbalance`` times the mean."""

    kind: Literal["affinity"] = "affinity"
    imbalance: Annotated[float, Field(ge=1, le=8)] = 2.0


class Priority(Value):
    """The order in which model calls are served: a number, or runs that had least of the engine first."""

    kind: Literal["priority"] = "priority"
    order: Literal["least_attained"] | int


class Quorum(Value):
    """A group goes on when ``needed`` of its calls have succeeded; the others are cancelled."""

    kind: Literal["quorum"] = "quorum"
    needed: Annotated[int, Field(ge=1, le=1_000)]


Action = Annotated[
    Cache | SingleFlight | Batch | Hedge | Retry | Timeout | Concurrency | Parallelise | Route | Affinity | Priority
    | Quorum,
    Field(discriminator="kind"),
]  # fmt: skip


class Proposal(Value):
    """What would be done, and to what.

    ``target`` is an operation as findings name it: ``tool search``, ``model smollm2-135m``, ``ask critic.review``,
    ``call critic.review``; for ``concurrency`` an agent, for ``quorum`` and ``parallelise`` the handler that gathers.
    ``agent``: only operations of this agent's handlers; None: everybody's.
    """

    action: Action
    target: Annotated[str, Field(min_length=1, max_length=200)]
    agent: str | None = None


class Level(StrEnum):
    """The ladder a policy climbs."""

    SUGGEST = "suggest"  # shown, does nothing
    SHADOW = "shadow"  # computes both, serves the old, compares results
    CANARY = "canary"  # serves a share of runs
    ON = "on"  # serves all


class Arms(StrEnum):
    """How runs are assigned at level canary."""

    RUN = "run"  # by the hash of the run: both arms at any time
    TIME = "time"  # by time slices: for pools that both arms would share


class Policy(Message):
    """What interceptors do differently, for whom, and how far it may go. Its key in the bucket is tenant and id.

    ``share`` of runs (or time slices of ``slice_s``) are treated at level canary. ``finding``: the finding it came
    from; None: a person's. ``reason``: why it is at this level, for people.
    """

    id: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    proposal: Proposal
    level: Level = Level.SUGGEST
    share: float = Field(default=0.5, ge=0.0, le=1.0)
    arms: Arms = Arms.RUN
    slice_s: Annotated[float, Field(ge=1, le=3_600)] = 10.0
    finding: str | None = None
    since_unix_ms: int = 0
    reason: str = ""
