"""What a person said to a proposal, as the handler sees it."""

from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, TypeVar

import msgspec

from antiphon.runtime.delivery.payload import decode
from antiphon.runtime.errors import DeadlineExceeded
from antiphon.runtime.policies.chain import Operation, Scope
from antiphon.schemas.approval import Approval, ApprovalState
from antiphon.schemas.identity import derived_id
from antiphon.schemas.message import Message

P = TypeVar("P", bound=Message)
OnTimeout = Literal["reject", "approve", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision(Generic[P]):
    """``value`` is the proposal, perhaps edited. ``expired``: nobody answered, ``on_timeout`` decided."""

    approved: bool
    value: P
    by: str = ""
    comment: str = ""
    expired: bool = False


class Question(NamedTuple):
    """What the transport needs to ask a person."""

    approval: Approval
    on_timeout: OnTimeout


def question(
    scope: Scope,
    handler: str,
    operation: Operation,
    proposal: Message,
    to: str,
    end_s: float | None,
    on_timeout: OnTimeout,
    now_ms: int,
) -> Question:
    """The approval that ``operation`` asks for; its id is the same in every attempt."""
    approval = Approval(
        id=derived_id("approval", scope.task, operation.path),
        task=scope.task,
        run=scope.run,
        agent=scope.agent,
        handler=handler,
        path=operation.path,
        to=to,
        proposal_type=proposal.message_name,
        proposal=msgspec.json.decode(operation.body),
        json_schema=type(proposal).model_json_schema(),
        asked_unix_ms=now_ms,
        until_unix_ms=None if end_s is None else int(end_s * 1000),
    )
    return Question(approval, on_timeout)


def decision_of(record: bytes, type_: type[P], on_timeout: OnTimeout) -> Decision[P]:
    """The decision in an answered approval.

    Raises:
        DeadlineExceeded: nobody answered in time, and that is a failure.
        InvalidMessage: the answer is not a ``type_``.
    """
    approval = decode(Approval, record)
    expired = approval.state is ApprovalState.EXPIRED
    if expired and on_timeout == "fail":
        raise DeadlineExceeded(f"approval {approval.id[:8]} had no answer in time; allow more", approval=approval.id)
    approved = on_timeout == "approve" if expired else approval.state is ApprovalState.APPROVED
    value = approval.proposal if approval.decision is None else approval.decision
    return Decision(
        approved=approved,
        value=decode(type_, msgspec.json.encode(value)),
        by=approval.answered_by,
        comment=approval.comment,
        expired=expired,
    )
