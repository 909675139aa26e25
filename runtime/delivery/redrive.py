"""Dead work on its way again, or given up: every step can be repeated, so a crash between two loses nothing."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from antiphon.runtime.bus.base import Bus, StoredMessage
from antiphon.runtime.bus.topology import JOURNAL, RESULTS
from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.bodies import pack, refer
from antiphon.runtime.delivery.history import History
from antiphon.runtime.delivery.journal import read_history
from antiphon.runtime.delivery.journal_codec import encode_batch
from antiphon.runtime.delivery.letters import Letter, Letters
from antiphon.runtime.delivery.payload import decode
from antiphon.runtime.errors import Busy, ConfigurationError, Conflict, InDoubt, InvalidMessage
from antiphon.schemas import envelope, subjects
from antiphon.schemas.journal import Entry, EntryKind, JournalBatch
from antiphon.schemas.task import DeadLetter, TaskResult, TaskState

SETTLE_S = 30.0  # a letter is stored before its task's outcome; a worker that died between is repeated sooner
TRIES = 8  # appends against a journal that somebody else is changing


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What became of a write that was in doubt. ``value``: what it returned, as JSON would have it, if it is done."""

    done: bool
    value: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Redrive:
    """The value of a REDRIVE entry: which letter, and the sequence of the outcome that it voids (0: none)."""

    letter: int
    result: int


class Redriver:
    """Redrives and drops the dead letters of one tenant."""

    def __init__(self, bus: Bus, clock: Clock, tenant: str) -> None:
        self._bus = bus
        self._clock = clock
        self._tenant = tenant
        self._letters = Letters(bus, tenant)

    async def redrive(self, letter: Letter, resolution: Resolution | None = None) -> bool:
        """Send the work on its way again; False if it has ended since, so that only the letter was removed.

        A task keeps its id and its journal: what it recorded is not done again. The order is journal, outcome,
        message, letter. The journal's entry names the letter and the outcome it voids, so that repeating never voids
        a newer one; the message's id is ``{task}:redrive:{number}``. An event goes to all its subscribers again.

        Raises:
            InDoubt: the task died in doubt, and ``resolution`` does not say what happened.
            ConfigurationError: a resolution that the letter has no use for.
            InvalidMessage: it is not work that ever came in on a task or an event.
            Busy: the worker that buried it has not stored the outcome yet.
            BusError: something was not stored; repeat it.
        """
        content = letter.content
        kind = _kind(letter)
        in_doubt = content.reason.type == InDoubt.__name__
        if in_doubt and resolution is None:
            raise InDoubt(
                f"letter {letter.number}: {content.reason.message}; find out, then add --resolve done=RESULT (JSON) "
                "or --resolve not-done",
                letter=letter.number,
            )
        if resolution is not None and not in_doubt:
            raise ConfigurationError(
                f"letter {letter.number} died of {content.reason.type}, not in doubt: redrive it without --resolve"
            )
        history = History()
        message_id = f"redrive-{letter.number}"
        if content.task and kind is subjects.Kind.TASK:
            message_id = f"{content.task}:redrive:{letter.number}"
            found = await self._reopen(letter, content.task, resolution)
            if found is None:
                await self._letters.remove(letter)
                return False
            history = found
        headers, body = await self._original(letter, history)
        if content.task:
            await self._refer(content.task, headers, history)
        await self._bus.streams.append(content.subject, body, headers, message_id=message_id)
        await self._letters.remove(letter)
        return True

    async def drop(self, letter: Letter) -> None:
        """Give the work up: its journal goes, then the letter. Its outcome stays. Idempotent. Raises BusError."""
        task = letter.content.task
        if task:
            history, last = await read_history(self._bus, self._tenant, task)
            goes_on = letter.number in redriven_letters(history) and not history.state
            # A journal that goes on belongs to a redrive which died before it could remove the letter.
            if last and not (goes_on and await self._outcome(task) is None):
                subject = subjects.journal(self._tenant, task)
                await self._bus.streams.purge(JOURNAL.name, subject=subject, below=last + 1)
        await self._letters.remove(letter)

    async def _reopen(self, letter: Letter, task: str, resolution: Resolution | None) -> History | None:
        """Void the outcome, in the journal first; None if the task has ended since the letter was written."""
        for _ in range(TRIES):
            history, last = await read_history(self._bus, self._tenant, task)
            voided = redriven_letters(history).get(letter.number)
            if voided is not None and history.state:
                return None
            if voided is None:
                outcome = await self._outcome(task)
                if outcome is not None and decode(TaskResult, outcome.body).state is TaskState.SUCCEEDED:
                    return None
                now_ms = self._now_ms()
                if outcome is None and now_ms - letter.content.unix_ms < SETTLE_S * 1000:
                    raise Busy(f"letter {letter.number} is being settled: try again in {SETTLE_S:g} s", task=task)
                voided = outcome.sequence if outcome is not None else 0
                if last:
                    resolved = self._resolved(letter, history, resolution, now_ms)
                    value = msgspec.json.encode(_Redrive(letter=letter.number, result=voided))
                    redrive = Entry(kind=EntryKind.REDRIVE, value=value, started_unix_ms=now_ms)
                    try:
                        await self._append(letter, task, history, last, (*resolved, redrive))
                    except Conflict:
                        continue
                elif resolution is not None:
                    raise ConfigurationError(
                        f"task {task} has no journal any more, so nothing can be resolved: "
                        f"drop letter {letter.number}, and submit the work anew if it is wanted"
                    )
            if voided:
                subject = subjects.result(self._tenant, task)
                await self._bus.streams.purge(RESULTS.name, subject=subject, below=voided + 1)
            return history if await self._outcome(task) is None else None
        raise Conflict(f"the journal of task {task} is being changed all the time: try again", task=task)

    async def _append(self, letter: Letter, task: str, history: History, last: int, added: tuple[Entry, ...]) -> None:
        """Write the journal anew, open: as it was, it may have an end (a TTL) and its blobs too."""
        address = subjects.parse_task(letter.content.subject)
        batch = JournalBatch(
            task=task,
            run=letter.content.headers.get(envelope.RUN, task),
            agent=address.agent,
            handler=address.handler,
            version=history.version,
            origin=0,
            attempt=1,
            entries=(*history.all, *added),
        )
        body, headers = await pack(self._bus, encode_batch(batch), {}, self._tenant, task)
        await self._bus.streams.append(
            subjects.journal(self._tenant, task),
            body,
            headers,
            message_id=f"{task}:redrive:{letter.number}",
            expected_last=last,
            rollup=True,
        )

    def _resolved(
        self, letter: Letter, history: History, resolution: Resolution | None, now_ms: int
    ) -> tuple[Entry, ...]:
        if resolution is None:
            return ()
        path = letter.content.reason.details.get("path", "")
        intent = history.intents.get(path)
        if intent is None:
            raise ConfigurationError(
                f"letter {letter.number} is in doubt about operation {path or '?'}, which the journal does not have: "
                "drop it, and submit the work anew if it is wanted"
            )
        return (
            replace(
                intent,
                kind=EntryKind.RESOLVED,
                value=msgspec.json.encode({"done": resolution.done, "value": resolution.value}),
                ended_unix_ms=now_ms,
            ),
        )

    async def _original(self, letter: Letter, history: History) -> tuple[dict[str, str], bytes]:
        """The first message of the work: one that died after a wake-up has it in its journal."""
        content = letter.content
        headers, body = dict(content.headers), await letter.body(self._bus)
        if envelope.WAKE in headers and history.parked is not None:
            headers, body = dict(history.parked.headers), base64.b64decode(history.parked.body_base64)
        return _again(headers, content, self._now_ms()), body

    async def _refer(self, task: str, headers: Mapping[str, str], history: History) -> None:
        """The task needs its blobs again: their references ran out when it died, and the letter is about to go."""
        digests = {entry.digest for entry in history.all} | {headers.get(envelope.BLOB, "")}
        for digest in sorted(filter(None, digests)):
            await refer(self._bus, digest, self._tenant, task)

    async def _outcome(self, task: str) -> StoredMessage | None:
        return await self._bus.streams.last(subjects.result(self._tenant, task))

    def _now_ms(self) -> int:
        return self._clock.unix_ns() // 1_000_000


def _kind(letter: Letter) -> subjects.Kind:
    try:
        kind = subjects.parse(letter.content.subject).kind
    except subjects.SubjectError as error:
        raise InvalidMessage(f"letter {letter.number}: {error}; drop it") from None
    if kind not in (subjects.Kind.TASK, subjects.Kind.EVENT):
        raise InvalidMessage(
            f"letter {letter.number} is about {letter.content.subject}, where no work comes in: drop it"
        )
    return kind


def redriven_letters(history: History) -> dict[int, int]:
    """The letters after which a task was sent on its way again, each with the sequence of the outcome it voided."""
    entries = (entry for entry in history.all if entry.kind is EntryKind.REDRIVE)
    redrives = (msgspec.json.decode(entry.value, type=_Redrive) for entry in entries)
    return {redrive.letter: redrive.result for redrive in redrives}


def _again(headers: Mapping[str, str], content: DeadLetter, now_ms: int) -> dict[str, str]:
    """Headers of a message that is sent once more.

    The server's own (``Nats-``) would make it a duplicate. A deadline that has passed would end it at once: who
    redrives it wants the work all the same. The attempt tells whoever looks that it is not the first.
    """
    found = {key: value for key, value in headers.items() if not key.startswith("Nats-")}
    deadline = found.get(envelope.DEADLINE, "")
    if deadline.isdecimal() and int(deadline) <= now_ms:
        del found[envelope.DEADLINE]
    if content.task:
        found[envelope.TASK] = content.task  # a bare body had its id from its place in the stream
        found[envelope.ATTEMPT] = str(content.attempts + 1)
    return found
