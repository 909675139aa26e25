"""A question of a task to a person, and the answer."""

from enum import StrEnum
from typing import Any

from pydantic import Field

from antiphon.schemas.message import Message


class ApprovalState(StrEnum):
    """Where an approval is. Only one answer ever counts."""

    OPEN = "open"  # nobody has answered
    APPROVED = "approved"  # somebody said yes, perhaps with an edited proposal
    REJECTED = "rejected"  # somebody said no
    EXPIRED = "expired"  # its time passed; the task went on as it had said it would


class Approval(Message):
    """One question, in the bucket of approvals until its task has ended.

    ``to`` says who may answer (``role:ops``, ``user:ada``): shown, not enforced. ``proposal`` is the message's JSON,
    ``json_schema`` its shape, for whoever edits it; ``decision`` is the proposal as answered.
    """

    id: str
    task: str
    run: str = ""
    agent: str
    handler: str
    path: str
    to: str = ""
    proposal_type: str
    proposal: dict[str, Any]
    json_schema: dict[str, Any] = Field(default_factory=dict)
    state: ApprovalState = ApprovalState.OPEN
    decision: dict[str, Any] | None = None
    answered_by: str = ""
    comment: str = ""
    asked_unix_ms: int
    until_unix_ms: int | None = None
    answered_unix_ms: int | None = None


class ToolProposal(Message):
    """What a person is asked before a tool with ``approve`` runs; only ``arguments`` may be edited."""

    tool: str
    description: str = ""
    arguments: dict[str, Any]
