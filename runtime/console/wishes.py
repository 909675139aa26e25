"""What people can ask the console to do: one form for each named action. ``by``: who says so, for those who read it."""

import json
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field, SerializationInfo, SerializerFunctionWrapHandler, WrapSerializer

from antiphon.schemas.message import Value
from antiphon.schemas.policy import Level, Policy

Hash = Callable[[bytes], str]


def _hashed(value: Any, plain: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
    content_hash: Hash | None = info.context
    if content_hash is None or value is None:
        return plain(value)
    said = json.dumps(value, sort_keys=True, ensure_ascii=False).encode("utf-8", "replace")
    return {"sha256": content_hash(said), "bytes": len(said)}


CONTENT = WrapSerializer(_hashed)  # of fields that hold what is said to agents

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
    value: Annotated[dict[str, Any] | None, CONTENT] = None
    comment: Reason = ""
    by: By = "owner"


class Submit(Value):
    """Store durable work; ``key``: the same key is the same task."""

    agent: Id
    handler: Id
    message: Annotated[dict[str, Any], CONTENT]
    key: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    by: By = "owner"


class Cancel(Value):
    """Stop a task."""

    task: Id
    by: By = "owner"


class InDoubtAnswer(Value):
    """What became of a write in doubt; ``value``: what it returned, if it is done."""

    done: bool
    value: Annotated[Any, CONTENT] = None


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


def noted(wish: Value, content_hash: Hash | None) -> dict[str, Any]:
    """A wish for the audit log; with ``content_hash``, only hash and size of what is said to agents."""
    return wish.model_dump(mode="json", exclude={"by"}, context=content_hash)
