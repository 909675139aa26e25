"""Tasks that wait without slot or lease, and what they wait for."""

from enum import StrEnum

from pydantic import Field

from antiphon.schemas.message import Message, Value


class WaitKind(StrEnum):
    """What can end a wait."""

    TIME = "time"  # ``until_unix_ms`` passes
    TASK = "task"  # a child has its outcome
    APPROVAL = "approval"  # somebody answered


class Wait(Value):
    """One thing a parked task waits for; any one of them wakes it. ``id``: the child task or the approval."""

    kind: WaitKind
    path: str
    id: str = ""
    until_unix_ms: int | None = None


class OpenSpan(Value):
    """A span that has not ended because its task waits: it goes on, under the same id, when the task does.

    ``path`` is its operation's, empty for the handler's own span, whose ``facts`` say how it began.
    """

    path: str
    traceparent: str  # of the span itself, as it is sent to children
    start_unix_ns: int
    name: str
    kind: int  # OpenTelemetry's number
    facts: dict[str, int] = Field(default_factory=dict)


class ParkedTask(Message):
    """A task that was put aside: who it is, and all it waits for.

    ``number`` counts the parkings of the task; the wake-up is stored as ``{task}:wake:{number}``. ``headers`` and
    ``body`` (base64) are those of the task's first message, which may be purged while it waits. ``attempt`` is the one
    that was parked, and ``spans`` are what it had open.
    """

    task: str
    run: str
    agent: str
    handler: str
    version: str
    number: int
    lane: str = ""
    parent: str = ""
    deadline_unix_ms: int | None = None
    waits: tuple[Wait, ...]
    headers: dict[str, str] = Field(default_factory=dict)
    body_base64: str = ""
    parked_unix_ms: int
    attempt: int = 1
    spans: tuple[OpenSpan, ...] = ()

    def wake_unix_ms(self) -> int | None:
        """When time alone wakes it; None: never."""
        times = [wait.until_unix_ms for wait in self.waits if wait.until_unix_ms is not None]
        if self.deadline_unix_ms is not None:
            times.append(self.deadline_unix_ms)
        return min(times, default=None)
