"""Everything about a message but its payload, and its form as NATS headers.

A bare body without headers is legal: defaults fill the rest. Unknown ``Antiphon-`` headers are kept out of
the way, not refused, so that a newer sender can talk to an older reader.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

MESSAGE_ID = "Nats-Msg-Id"
TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
TYPE = "Antiphon-Type"
VERSION = "Antiphon-Version"
RUN = "Antiphon-Run"
TASK = "Antiphon-Task"
CAUSES = "Antiphon-Causes"
DEADLINE = "Antiphon-Deadline"
ATTEMPT = "Antiphon-Attempt"
BUDGET = "Antiphon-Budget"
LABELS = "Antiphon-Labels"
PRIORITY = "Antiphon-Priority"
REPLY = "Antiphon-Reply"
ERROR = "Antiphon-Error"  # on replies: the error's type; the body is an ErrorInfo


class EnvelopeError(ValueError):
    """A header whose value cannot be read; the message names header, value and accepted form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Identity, causality, limits and trace context of one message.

    ``type`` is empty and ``version`` 0 where the sender did not say (a bare JSON body): the receiver then takes its
    handler's own input type. ``budget`` and ``labels`` are small flat maps; ``causes`` are message or task ids.
    """

    type: str = ""
    version: int = 0
    message_id: str = ""
    run: str = ""
    task: str = ""
    causes: tuple[str, ...] = ()
    deadline_unix_ms: int | None = None
    attempt: int = 1
    budget: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0
    reply: str = ""
    traceparent: str = ""
    tracestate: str = ""

    def headers(self) -> dict[str, str]:
        """As headers; fields at their defaults are left out."""
        out: dict[str, str] = {}
        if self.type:
            out[TYPE] = self.type
        if self.version:
            out[VERSION] = str(self.version)
        if self.message_id:
            out[MESSAGE_ID] = self.message_id
        if self.run:
            out[RUN] = self.run
        if self.task:
            out[TASK] = self.task
        if self.causes:
            out[CAUSES] = ",".join(self.causes)
        if self.deadline_unix_ms is not None:
            out[DEADLINE] = str(self.deadline_unix_ms)
        if self.attempt != 1:
            out[ATTEMPT] = str(self.attempt)
        if self.budget:
            out[BUDGET] = json.dumps(dict(self.budget), separators=(",", ":"), sort_keys=True)
        if self.labels:
            out[LABELS] = json.dumps(dict(self.labels), separators=(",", ":"), sort_keys=True)
        if self.priority:
            out[PRIORITY] = str(self.priority)
        if self.reply:
            out[REPLY] = self.reply
        if self.traceparent:
            out[TRACEPARENT] = self.traceparent
        if self.tracestate:
            out[TRACESTATE] = self.tracestate
        return out

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> "Envelope":
        """Read headers back.

        Raises:
            EnvelopeError: a value that cannot be read.
        """
        get = headers.get
        causes = get(CAUSES)
        return cls(
            type=get(TYPE, ""),
            version=_integer(headers, VERSION, 0) or 0,
            message_id=get(MESSAGE_ID, ""),
            run=get(RUN, ""),
            task=get(TASK, ""),
            causes=tuple(causes.split(",")) if causes else (),
            deadline_unix_ms=_integer(headers, DEADLINE, None),
            attempt=_integer(headers, ATTEMPT, 1) or 1,
            budget={key: _number(BUDGET, value) for key, value in _flat_map(headers, BUDGET).items()},
            labels={key: str(value) for key, value in _flat_map(headers, LABELS).items()},
            priority=_integer(headers, PRIORITY, 0) or 0,
            reply=get(REPLY, ""),
            traceparent=get(TRACEPARENT, ""),
            tracestate=get(TRACESTATE, ""),
        )


def _integer(headers: Mapping[str, str], key: str, default: int | None) -> int | None:
    text = headers.get(key)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        raise EnvelopeError(f"header {key} is {text!r}, expected an integer") from None


def _flat_map(headers: Mapping[str, str], key: str) -> dict[str, str | int | float]:
    text = headers.get(key)
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(v, str | int | float) for v in found.values()):
        raise EnvelopeError(f"header {key} is {text[:80]!r}, expected a flat JSON object")
    return found


def _number(key: str, value: str | int | float) -> float:
    try:
        return float(value)
    except ValueError:
        raise EnvelopeError(f"header {key} has {value!r}, expected numbers") from None
