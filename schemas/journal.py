"""What an unfinished task has done so far: batches of entries on ``journal.{task}``.

One stored message is one ``JournalBatch``: everything that was simultaneous goes out in one append. Dataclasses, not
messages: they are written on every durable operation and read only by our own nodes (``delivery/journal_codec``).
"""

from dataclasses import dataclass
from enum import StrEnum


class EntryKind(StrEnum):
    """What an entry says."""

    OPERATION = "operation"  # a finished operation of the handler: its value or its error
    DRAW = "draw"  # a value of now, or the end of a sleep; rides on the next append
    GROUP = "group"  # which members of a group had ended when the handler left it
    INTENT = "intent"  # a write without idempotency key is about to begin
    RESOLVED = "resolved"  # a person or a resolver said what became of an intent
    CLAIM = "claim"  # another attempt has taken the task over: every older worker is stale
    RELEASE = "release"  # the node drained; the next claim is no new attempt
    PARK = "park"  # slot and lease were given up; ``value`` is a ParkedTask
    REDRIVE = "redrive"  # a person sent a dead task on its way again: attempts count anew

    __hash__ = str.__hash__


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One fact. ``path`` and ``operation`` (kind, target, request hash) are empty where they mean nothing.

    ``value`` is JSON: the operation's result or what the kind of entry carries. ``error`` is an ErrorInfo's JSON; an
    operation has one of the two. ``digest`` names the blob that holds a ``value`` too large for a message. ``span``
    is the operation's span id, for lineage. ``blocks`` are turns of a conversation this task had not stored before,
    by hash; ``conversation`` is the whole request of a model call as such hashes.
    """

    kind: EntryKind
    path: str = ""
    operation: str = ""
    target: str = ""
    request: str = ""
    effect: str = ""
    value: bytes = b""
    error: bytes = b""
    digest: str = ""
    span: str = ""
    started_unix_ms: int = 0
    ended_unix_ms: int = 0
    conversation: tuple[str, ...] = ()
    blocks: dict[str, bytes] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a finished task was given and what came of it: with the entries, all that replaying it takes.

    ``headers`` and ``body`` are those of its message; a large body is the blob that the headers name. ``value`` is the
    reply's JSON, ``digest`` names the blob that holds a large one; ``error`` is an ErrorInfo's JSON.
    """

    headers: dict[str, str]
    body: bytes
    value: bytes = b""
    digest: str = ""
    error: bytes = b""
    started_unix_ms: int = 0
    ended_unix_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalBatch:
    """One append. ``version`` is that of the agent's code; ``origin`` the sequence of the TASKS message whose lease
    the writer held: a message that finds another one's journal is a duplicate. ``shown`` counts what the task had
    emitted by then.

    ``state`` is set on the last batch of a finished task: it replaces all others and holds the whole journal, and
    ``ended`` where the worker that finished it wrote it.
    """

    task: str
    run: str
    agent: str
    handler: str
    version: str
    origin: int
    attempt: int
    entries: tuple[Entry, ...]
    shown: int = 0
    state: str = ""
    ended: Ended | None = None
