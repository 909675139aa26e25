"""What people can ask the console to do: one form for each named action. ``by``: who says so, for those who read it."""

from typing import Annotated, Any

from pydantic import Field

from antiphon.schemas.message import Value
from antiphon.schemas.policy import Level, Policy

By = Annotated[str, Field(max_length=64)]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]  # what keys of buckets and subjects both take
Reason = Annotated[str, Field(max_length=2_000)]


class Apply(Value):
    """Put a finding's remedy at a level."""

    finding: Id
    level: Level = Level.CANARY
    share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    sure: bool = False
    by: By = "owner"


class Rollback(Value):
    """Take a finding's remedy back."""

    finding: Id
    by: By = "owner"


class Dismiss(Value):
    """Say no to a finding."""

    finding: Id
    reason: Reason = ""
    by: By = "owner"


class SetPolicy(Value):
    """Store a policy, in the place of the one of its id."""

    policy: Policy
    by: By = "owner"


class RemovePolicy(Value):
    """Forget a policy."""

    id: Id
    by: By = "owner"


class Answer(Value):
    """Answer an approval; ``value`` is the proposal as edited."""

    id: Id
    approved: bool
    value: dict[str, Any] | None = None
    comment: Reason = ""
    by: By = "owner"


class Submit(Value):
    """Store durable work; ``key``: the same key is the same task."""

    agent: Id
    handler: Id
    message: dict[str, Any]
    key: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    by: By = "owner"


class Cancel(Value):
    """Stop a task."""

    task: Id
    by: By = "owner"


class InDoubtAnswer(Value):
    """What became of a write in doubt; ``value``: what it returned, if it is done."""

    done: bool
    value: Any = None


class Redrive(Value):
    """Send dead work on its way again."""

    number: Annotated[int, Field(ge=1, lt=2**63)]
    resolution: InDoubtAnswer | None = None
    by: By = "owner"


class Drop(Value):
    """Give dead work up, its journal too."""

    number: Annotated[int, Field(ge=1, lt=2**63)]
    by: By = "owner"


class Judge(Value):
    """Say what a run's result is worth; a run has the id of its first task."""

    run: Id
    name: Annotated[str, Field(min_length=1, max_length=64)]
    value: Annotated[float, Field(allow_inf_nan=False)]
    comment: Reason = ""
    by: By = "owner"
