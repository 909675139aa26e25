"""Tasks as a list: the record's, with what the bus knows of them, or all that are parked."""

from collections.abc import Collection, Iterable

from pydantic import Field

from antiphon.runtime.delivery.letters import Letter
from antiphon.runtime.errors import InDoubt
from antiphon.runtime.store.query import Cursor, RunFilter
from antiphon.runtime.store.runs import Run, RunStatus
from antiphon.schemas.message import Value
from antiphon.schemas.parking import ParkedTask
from antiphon.schemas.task import ErrorInfo, TaskState

_STATES = {
    RunStatus.QUEUED: TaskState.QUEUED,
    RunStatus.RUNNING: TaskState.RUNNING,
    RunStatus.OK: TaskState.SUCCEEDED,
    RunStatus.ERROR: TaskState.FAILED,
    RunStatus.CANCELLED: TaskState.CANCELLED,
}
_STATUS = {state: status for status, state in _STATES.items()}


class TasksQuery(Value):
    """Those in one state, or all; ``after`` is the ``next`` of an earlier page."""

    state: TaskState | None = None
    limit: int = Field(default=50, ge=1, le=200)
    after: str | None = Field(default=None, max_length=400)


class LetterView(Value):
    """A dead letter, without its body."""

    number: int
    agent: str
    task: str | None
    subject: str
    reason: ErrorInfo
    attempts: int
    unix_ms: int
    in_doubt: bool

    @classmethod
    def of(cls, letter: Letter) -> "LetterView":
        """What a person decides by."""
        content = letter.content
        return cls(
            number=letter.number,
            agent=letter.agent,
            task=content.task,
            subject=content.subject,
            reason=content.reason,
            attempts=content.attempts,
            unix_ms=content.unix_ms,
            in_doubt=content.reason.type == InDoubt.__name__,
        )


class TaskRow(Value):
    """A task of a run; the first has the run's id. ``waits``: what a parked one waits for.

    It began at ``start_unix_ms`` and was last seen ``duration_ms`` later; where parked ones were asked for, it waits
    since and for as long. ``letter``: the number of its dead letter; 0: none. ``in_doubt``: it died because nobody
    knows whether a write of it was made.
    """

    task: str
    run: str
    state: TaskState
    handler: str
    start_unix_ms: float
    duration_ms: float
    waits: tuple[str, ...] = ()
    letter: int = 0
    in_doubt: bool = False


class TasksView(Value):
    """First tasks of runs, or parked ones, also of runs whose record is gone; the newest first.

    ``next`` is the cursor of the next page.
    """

    tasks: tuple[TaskRow, ...]
    next: str | None


def wanted(state: TaskState | None, parked: Collection[str], dead: Collection[str]) -> RunFilter:
    """Whom to ask the record for, to which parked ones are queued or running, and dead ones failed."""
    if state is None:
        return RunFilter(durable=True)
    if state is TaskState.DEAD:
        return RunFilter(durable=True, status=RunStatus.ERROR, among=dead)
    return RunFilter(durable=True, status=_STATUS[state], without={*parked, *dead})


def row(run: Run, parked: ParkedTask | None, letter: LetterView | None) -> TaskRow:
    """A run's first task, with its parking and its dead letter."""
    state = _STATES[run.entry.status]
    waits = parked is not None and state in (TaskState.RUNNING, TaskState.QUEUED)
    if letter is not None and state is TaskState.FAILED:
        state = TaskState.DEAD
    return TaskRow(
        task=run.run,
        run=run.run,
        state=TaskState.PARKED if waits else state,
        handler=run.entry.title,
        start_unix_ms=run.start_ns / 1e6,
        duration_ms=run.duration_ns / 1e6,
        waits=_waits(parked) if parked is not None and waits else (),
        letter=0 if letter is None else letter.number,
        in_doubt=letter is not None and letter.in_doubt,
    )


def waiting(parked: Iterable[ParkedTask], limit: int, after: Cursor | None, now_unix_ms: float) -> TasksView:
    """A page of them, who waits for the shortest time first."""

    def place(each: ParkedTask) -> tuple[int, str]:
        return each.parked_unix_ms * 1_000_000, each.task

    left = [each for each in parked if after is None or place(each) < (after.start_ns, after.run)]
    shown = sorted(left, key=place, reverse=True)[:limit]
    return TasksView(
        tasks=tuple(
            TaskRow(
                task=each.task,
                run=each.run,
                state=TaskState.PARKED,
                handler=f"{each.agent}.{each.handler}",
                start_unix_ms=each.parked_unix_ms,
                duration_ms=max(now_unix_ms - each.parked_unix_ms, 0),
                waits=_waits(each),
            )
            for each in shown
        ),
        next=str(Cursor(*place(shown[-1]))) if len(shown) < len(left) else None,
    )


def _waits(parked: ParkedTask) -> tuple[str, ...]:
    return tuple(wait.kind.value for wait in parked.waits)
