"""Durable work: its states, its one outcome, its errors, and what a reader of a stream sees."""

from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from antiphon.schemas.message import Message, Value


class Effect(StrEnum):
    """What an operation does to the world. Only pure ones, and reads with no write between, may be shared."""

    PURE = "pure"  # a function of its input
    READ = "read"  # looks at something that may change
    WRITE = "write"  # changes something; the default, because it is the safe assumption

    __hash__ = str.__hash__  # in C, for the path of every operation


class TaskState(StrEnum):
    """Where a task is. Every task ends in exactly one of the last four."""

    QUEUED = "queued"  # stored, no node has it
    RUNNING = "running"  # a node holds its lease
    PARKED = "parked"  # it waits for a person, a time or a child, without slot or lease
    SUCCEEDED = "succeeded"  # the handler returned
    FAILED = "failed"  # the handler or the input said no; a retry would not help
    CANCELLED = "cancelled"  # somebody stopped it, or its deadline passed
    DEAD = "dead"  # every attempt failed; the dead letter has the original bytes

    @property
    def terminal(self) -> bool:
        """Whether nothing can follow."""
        return self not in (TaskState.QUEUED, TaskState.RUNNING, TaskState.PARKED)


class ErrorInfo(Value):
    """An error as it crosses the wire: ``type`` names the class, ``message`` says what to do.

    ``retryable``: another attempt may succeed. ``details`` are the ids and numbers the error carries.
    """

    type: str
    message: str
    retryable: bool = False
    details: dict[str, str] = Field(default_factory=dict)


class TaskResult(Message):
    """The terminal record of a task: published once, on ``result.{task}``, with expected sequence 0.

    A record written by whoever cancelled the task does not say which run, agent and handler it was.
    ``shown`` is the number of the stream's end, so that a reader can tell whether it has seen everything before it;
    None: whoever wrote the record does not know.
    """

    task: str
    run: str = ""
    agent: str = ""
    handler: str = ""
    state: TaskState
    value: Any = None  # the reply's JSON, when succeeded
    error: ErrorInfo | None = None
    attempts: int = 1
    trace_id: str = ""
    shown: int | None = None
    started_unix_ms: int
    finished_unix_ms: int


class DeadLetter(Message):
    """What could not be delivered: the reason, the attempts and the original bytes.

    The bytes are in ``body_base64``, or in the blob store under ``body_sha256`` where they are too many for a letter.
    """

    subject: str
    reason: ErrorInfo
    attempts: int
    headers: dict[str, str]
    body_base64: str = ""
    body_sha256: str | None = None
    task: str | None = None
    unix_ms: int


class Token(Value):
    """Text as a model produces it."""

    kind: Literal["token"] = "token"
    text: str


class Progress(Value):
    """Anything a handler emitted that is not text."""

    kind: Literal["progress"] = "progress"
    value: Any


class Restarted(Value):
    """The worker died or failed after chunks were shown; ``attempt`` follows.

    What had been shown with numbers from ``n`` on is void; what operations had shown that were finished and recorded
    before (numbers below ``n``) stays, and is not shown again.
    """

    kind: Literal["restarted"] = "restarted"
    attempt: int
    n: int = 0


class Gap(Value):
    """``missed`` items from number ``n`` on were shown while this reader did not listen; no node has them any more."""

    kind: Literal["gap"] = "gap"
    n: int
    missed: int


class StreamEnd(Value):
    """Nothing follows in this attempt; the outcome is the task's result record."""

    kind: Literal["end"] = "end"
    state: TaskState


StreamItem = Annotated[Token | Progress | StreamEnd, Field(discriminator="kind")]


class StreamBatch(Message):
    """Chunks of one attempt, coalesced: the first has number ``n``, the next ``n + 1``, …

    Numbers go on when a task wakes up. ``starts`` says for each attempt so far with which number it began (the one that
    was reached when the task's journal was last written): what earlier attempts had shown from there on is void.
    """

    task: str
    attempt: int
    starts: tuple[int, ...] = ()  # empty: every attempt began with 0
    n: int
    items: tuple[StreamItem, ...]

    def void_from(self, attempt: int) -> int:
        """The first number whose item is void if ``attempt``, an earlier one, had shown it."""
        return min(self.starts[attempt : self.attempt], default=0)


class Position(NamedTuple):
    """A place in a stream: everything of ``attempt`` (and what it kept of earlier ones) below ``n`` has been seen."""

    attempt: int = 0  # 0: before the first
    n: int = 0


class ResumeStream(Message):
    """A reader asks, on ``control.stream.{task}``, for what the nodes still have behind a position.

    The answer is the batches themselves, in order, sent to the reply subject; silence: this node has none.
    """

    attempt: int = 0
    n: int = 0
