"""Everything about a message but its payload, and its form as NATS headers.

A bare body without headers is legal: defaults fill the rest. Unknown ``Antiphon-`` headers are kept out of
the way, not refused, so that a newer sender can talk to an older reader.
"""

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

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
PARENT = "Antiphon-Parent"  # the task that waits for this one and must not be outlived by it
WAKE = "Antiphon-Wake"  # the number of the parking that this message ends; its body is empty
TOPIC = "Antiphon-Topic"  # the event that a subscriber's task was made of
BLOB = "Antiphon-Blob"  # SHA-256 of the body, which is in the blob store
FINAL = "Antiphon-Final"  # on the last batch of a journal: the task's terminal state
ERROR = "Antiphon-Error"  # on replies: the error's type; the body is an ErrorInfo


class EnvelopeError(ValueError):
    """A header whose value cannot be read; the message names header, value and accepted form."""


_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Envelope(NamedTuple):
    """Identity, causality, limits and trace context of one message.

    A named tuple, not a dataclass: one is made for every message, and this takes a third of the time.
    ``type`` is empty where the sender did not say (a bare JSON body): the receiver then takes its handler's own
    input type. ``budget`` and ``labels`` are small flat maps; ``causes`` are message or task ids.
    """

    type: str = ""
    version: int = 1
    message_id: str = ""
    run: str = ""
    task: str = ""
    causes: tuple[str, ...] = ()
    deadline_unix_ms: int | None = None
    attempt: int = 1
    budget: Mapping[str, float] = _NOTHING
    labels: Mapping[str, str] = _NOTHING
    priority: int = 0
    reply: str = ""
    parent: str = ""
    wake: int = 0
    topic: str = ""
    blob: str = ""
    traceparent: str = ""
    tracestate: str = ""

    def headers(self) -> dict[str, str]:
        """As headers; fields at their defaults are left out."""
        out: dict[str, str] = {}
        if self.type:
            out[TYPE] = self.type
        if self.version != 1:
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
        if self.parent:
            out[PARENT] = self.parent
        if self.wake:
            out[WAKE] = str(self.wake)
        if self.topic:
            out[TOPIC] = self.topic
        if self.blob:
            out[BLOB] = self.blob
        if self.traceparent:
            out[TRACEPARENT] = self.traceparent
        if self.tracestate:
            out[TRACESTATE] = self.tracestate
        return out

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> "Envelope":
        """Read headers back; those that are not ours are left alone.

        Raises:
            EnvelopeError: a value that cannot be read.
        """
        found: dict[str, Any] = {}
        for key, value in headers.items():
            reader = _READERS.get(key)
            if reader is not None:
                field, read = reader
                found[field] = value if read is None else read(key, value)
        return cls(**found)


def _integer(key: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise EnvelopeError(f"header {key} is {text[:80]!r}, expected an integer") from None


def _list(_: str, text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def _labels(key: str, text: str) -> dict[str, str]:
    return {name: str(value) for name, value in _flat_map(key, text).items()}


def _budget(key: str, text: str) -> dict[str, float]:
    found = _flat_map(key, text)
    try:
        return {name: float(value) for name, value in found.items()}
    except ValueError:
        raise EnvelopeError(f"header {key} is {text[:80]!r}, expected numbers") from None


def _flat_map(key: str, text: str) -> dict[str, str | int | float]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str | int | float) for value in found.values()):
        raise EnvelopeError(f"header {key} is {text[:80]!r}, expected a flat JSON object")
    return found


_READERS: Mapping[str, tuple[str, Callable[[str, str], Any] | None]] = MappingProxyType(
    {
        TYPE: ("type", None),
        VERSION: ("version", _integer),
        MESSAGE_ID: ("message_id", None),
        RUN: ("run", None),
        TASK: ("task", None),
        CAUSES: ("causes", _list),
        DEADLINE: ("deadline_unix_ms", _integer),
        ATTEMPT: ("attempt", _integer),
        BUDGET: ("budget", _budget),
        LABELS: ("labels", _labels),
        PRIORITY: ("priority", _integer),
        REPLY: ("reply", None),
        PARENT: ("parent", None),
        WAKE: ("wake", _integer),
        TOPIC: ("topic", None),
        BLOB: ("blob", None),
        TRACEPARENT: ("traceparent", None),
        TRACESTATE: ("tracestate", None),
    }
)
