"""How a task is doing: its outcome, what it waits for, its journal, or its message in the stream of work."""

from contextlib import aclosing
from dataclasses import dataclass

from antiphon.runtime.bus.base import Bus, ConsumerState, StoredMessage
from antiphon.runtime.bus.matching import matches
from antiphon.runtime.bus.topology import DEAD, TASKS
from antiphon.runtime.delivery.bodies import unpack
from antiphon.runtime.delivery.history import History
from antiphon.runtime.delivery.journal import read_history
from antiphon.runtime.delivery.journal_codec import decode_batch
from antiphon.runtime.delivery.outcome import read_result
from antiphon.runtime.delivery.parking import Parking
from antiphon.runtime.delivery.redrive import redriven_letters
from antiphon.runtime.errors import UnknownTask
from antiphon.schemas import subjects
from antiphon.schemas.envelope import TASK
from antiphon.schemas.identity import InvalidName, check_task, derived_id
from antiphon.schemas.journal import Entry, EntryKind
from antiphon.schemas.parking import Wait
from antiphon.schemas.task import TaskResult, TaskState

_NOBODY_HAS_IT = (EntryKind.PARK, EntryKind.RELEASE, EntryKind.REDRIVE)  # as the last entry of a journal


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStatus:
    """What is known of a task now. ``address`` is ``agent.handler``, or empty where only its outcome is left.

    ``entries`` are those of its journal; ``message`` is the sequence of its stored message while nobody has begun it,
    ``letter`` the number of the dead letter of a dead one, while that is there.
    """

    task: str
    state: TaskState
    address: str = ""
    attempts: int = 0
    waits: tuple[Wait, ...] = ()
    entries: tuple[Entry, ...] = ()
    message: int = 0
    letter: int = 0
    result: TaskResult | None = None


async def find_task(bus: Bus, tenant: str, task: str) -> TaskState:
    """The state of a task. Raises UnknownTask, BusError."""
    return (await task_status(bus, tenant, task)).state


async def task_status(bus: Bus, tenant: str, task: str) -> TaskStatus:
    """Look for a task: outcome, parked, journal, and last the stream of work, message by message.

    Raises:
        UnknownTask: there is no trace of it, or it has ended and its outcome is kept no longer.
        BusError: something cannot be read.
    """
    try:
        check_task(task)
    except InvalidName as error:
        raise UnknownTask(f"no task can have this id: {error}", task=task) from None
    history, last = await read_history(bus, tenant, task)
    entries = tuple(history.all)
    result = await read_result(bus, tenant, task)
    if result is not None:
        return TaskStatus(
            task=task,
            state=result.state,
            address=f"{result.agent}.{result.handler}" if result.agent else "",
            attempts=result.attempts,
            entries=entries,
            letter=await _letter(bus, tenant, task, history) if result.state is TaskState.DEAD else 0,
            result=result,
        )
    parked = await (await Parking.open(bus, tenant)).get(task)
    if parked is not None:
        return TaskStatus(
            task=task,
            state=TaskState.PARKED,
            address=f"{parked.agent}.{parked.handler}",
            attempts=history.attempt,
            waits=parked.waits,
            entries=entries,
        )
    if last and not history.state:
        letter = await _letter(bus, tenant, task, history)  # it outlives the outcome of a dead task
        return TaskStatus(
            task=task,
            state=TaskState.DEAD if letter else _state(history),
            address=await _address(bus, tenant, task),
            attempts=history.attempt,
            entries=entries,
            letter=letter,
        )
    message, settled = await _message(bus, tenant, task)
    if message is not None and not settled:
        address = str(subjects.parse_task(message.subject))
        return TaskStatus(task=task, state=TaskState.QUEUED, address=address, message=message.sequence)
    if await _has_gone_on(bus, tenant, task, last):
        return await task_status(bus, tenant, task)
    if message is not None or last:
        raise UnknownTask(f"task {task} has ended, and its outcome is kept no longer", task=task)
    raise UnknownTask(
        f"no trace of a task {task}: it was never stored, or it ended longer ago than outcomes are kept; "
        "check the tenant, and the id as `antiphon submit` printed it",
        task=task,
    )


def _state(history: History) -> TaskState:
    """Of a task whose journal is open: running, unless the last that happened was to let go of it."""
    nobody_has_it = bool(history.all) and history.all[-1].kind in _NOBODY_HAS_IT
    return TaskState.QUEUED if nobody_has_it else TaskState.RUNNING


async def _has_gone_on(bus: Bus, tenant: str, task: str, last: int) -> bool:
    """Whether it has begun, parked or ended since its journal was read up to ``last``: the stream is long."""
    newest = await bus.streams.last(subjects.journal(tenant, task))
    return (newest is not None and newest.sequence > last) or await read_result(bus, tenant, task) is not None


async def _letter(bus: Bus, tenant: str, task: str, history: History) -> int:
    """The number of the task's newest dead letter that was not redriven; 0: none."""
    redriven = redriven_letters(history)
    found = 0
    async with aclosing(bus.inspector.headers(DEAD.name, subjects.every(subjects.Kind.DEAD, tenant))) as letters:
        async for letter in letters:
            if letter.headers.get(TASK) == task and letter.sequence not in redriven:
                found = letter.sequence
    return found


async def _address(bus: Bus, tenant: str, task: str) -> str:
    stored = await bus.streams.last(subjects.journal(tenant, task))
    if stored is None:
        return ""  # the journal went this very moment
    batch = decode_batch(await unpack(bus, stored.body, stored.headers))
    return f"{batch.agent}.{batch.handler}"


async def _message(bus: Bus, tenant: str, task: str) -> tuple[StoredMessage | None, bool]:
    """A stored message of the task, without its body, and whether a consumer is done with it.

    One that nobody is done with, where there is one: the message that was redriven may still lie before it.
    """
    consumers = await bus.inspector.consumers(TASKS.name)
    found: StoredMessage | None = None
    async with aclosing(bus.inspector.headers(TASKS.name, subjects.every(subjects.Kind.TASK, tenant))) as messages:
        async for stored in messages:
            # A bare body has no id: its place in the stream gives it one.
            if (stored.headers.get(TASK) or derived_id(TASKS.name, str(stored.sequence))) == task:
                found = stored
                if not _is_settled(consumers, stored):
                    return stored, False
    return found, True


def _is_settled(consumers: list[ConsumerState], message: StoredMessage) -> bool:
    """Whether everyone who reads that subject is done with it; a keyed handler's first goes through its forwarder."""
    readers = [each for each in consumers if any(matches(subject, message.subject) for subject in each.subjects)]
    return bool(readers) and all(message.sequence <= each.floor for each in readers)
