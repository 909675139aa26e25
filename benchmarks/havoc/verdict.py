"""What went wrong, from the record, the ledgers, the diary and the kills. Pure."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from antiphon.schemas.journal import Entry, EntryKind
from antiphon.schemas.parking import ParkedTask
from antiphon.schemas.task import TaskResult, TaskState
from havoc.agents import Kind
from havoc.fleet import Kill
from havoc.ledger import Start
from havoc.plan import Victim
from havoc.record import Record, Stored

GRACE_MS = 5_000  # for the signal of a parent's end to reach its children
HONOURED = {"leaf.write": "put", "leaf.nap": "put", "leaf.told": "put", "root.begin": "close"}
IGNORED = {"leaf.write_once": "put"}

Rows = Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Counts; ``details`` names the first of each. All but ``in_doubt`` should be 0.

    ``lost``: without outcome, and nothing is left that could bring one; ``unfinished``: without outcome, whatever the
    reason. ``double``: steps written twice, tasks with two outcomes. ``missing``: steps of a task that succeeded and
    are in no ledger. ``orphans``: children without outcome whose parent has one, and those that began or succeeded
    GRACE_MS after it. ``silent_doubt``: a write without key was interrupted and the task ended as if it were not.
    ``unexpected``: tasks that ended otherwise than they should.
    """

    lost: int
    double: int
    missing: int
    unfinished: int
    orphans: int
    silent_doubt: int
    unexpected: int
    in_doubt: int
    resumes_s: tuple[float, ...]
    details: tuple[str, ...]


def judge(
    record: Record,
    honours: Rows,
    ignores: Rows,
    starts: Sequence[Start],
    kills: Sequence[Kill],
    roots: Mapping[str, Kind],
) -> Verdict:
    """Hold everything against everything. ``roots``: the tasks that were submitted, and what they do."""
    details: dict[str, list[str]] = defaultdict(list)
    for task in roots:
        if task not in record.tasks:
            details["lost"].append(f"{task} was submitted and is not in the stream")
    for task in record.open:
        where = "parked" if task in record.parked else "queued or held" if record.owed else "gone"
        details["unfinished"].append(f"{record.tasks[task].address} {task} has no outcome: {where}")
        if where == "gone":
            details["lost"].append(f"{record.tasks[task].address} {task}")
    for task, count in record.outcomes.items():
        if count > 1:
            details["double"].append(f"{task} has {count} outcomes")
    told = sum(str(task.address) == "leaf.told" for task in record.tasks.values())
    tellers = [task for task, kind in roots.items() if kind is Kind.TELL and task in record.ends]
    details["lost"] += [f"{len(tellers)} events were published, {told} were handled"] * (len(tellers) - told)
    began = {start.task: start.unix_ms for start in starts}
    for stored in record.tasks.values():
        _judge_task(stored, record, honours, ignores, began, details)
        end = record.ends.get(stored.task)
        if end is not None and not _is_expected(stored, end.result, roots):
            error = f" {end.result.error.type}: {end.result.error.message[:200]}" if end.result.error else ""
            details["unexpected"].append(f"{stored.address} {stored.task} ended as {end.result.state}{error}")
    in_doubt = sum(_is_in_doubt(end.result) for end in record.ends.values())
    return Verdict(
        **{
            name: len(details[name])
            for name in ("lost", "double", "missing", "unfinished", "orphans", "silent_doubt", "unexpected")
        },
        in_doubt=in_doubt,
        resumes_s=tuple(resumes_s(record, starts, kills)),
        details=tuple(f"{name}: {line}" for name, lines in details.items() for line in lines[:5]),
    )


def _judge_task(
    task: Stored,
    record: Record,
    honours: Rows,
    ignores: Rows,
    began: Mapping[str, int],
    details: dict[str, list[str]],
) -> None:
    label = f"{task.address} {task.task}"
    end = record.ends.get(task.task)
    parent = record.ends.get(task.parent)
    if parent is not None:
        limit_ms = parent.unix_ms + GRACE_MS
        if end is None:
            details["orphans"].append(f"{label} is open, its parent ended as {parent.result.state}")
        elif began.get(task.task, 0) > limit_ms:
            details["orphans"].append(f"{label} began {began[task.task] - parent.unix_ms} ms after its parent's end")
        elif end.result.state is TaskState.SUCCEEDED and end.unix_ms > limit_ms:
            details["orphans"].append(f"{label} succeeded {end.unix_ms - parent.unix_ms} ms after its parent's end")
    address = str(task.address)
    step = HONOURED.get(address) or IGNORED.get(address, "")
    rows = (honours if address in HONOURED else ignores).get((task.task, step), 0)
    if rows > 1:
        details["double"].append(f"{label} wrote {step!r} {rows} times")
    if end is None:
        return
    result = end.result
    if result.state is TaskState.SUCCEEDED and step and not rows:
        details["missing"].append(f"{label} succeeded without a row for {step!r}")
    interrupted = _is_interrupted(record.journals.get(task.task, []))
    written_in_vain = bool(rows) and result.state is not TaskState.SUCCEEDED
    if address in IGNORED and (interrupted or written_in_vain) and not _is_in_doubt(result):
        details["silent_doubt"].append(f"{label} ended as {result.state}")


def _is_in_doubt(result: TaskResult) -> bool:
    return result.state is TaskState.DEAD and result.error is not None and result.error.type == "InDoubt"


def _is_expected(task: Stored, result: TaskResult, roots: Mapping[str, Kind]) -> bool:
    """Everybody succeeds, but those in doubt, those that refuse, and those that would never end by themselves."""
    address, kind = str(task.address), roots.get(task.task)
    if kind is Kind.DOOMED or address == "leaf.linger":
        return result.state is TaskState.CANCELLED
    if kind is Kind.FAIL or address == "leaf.refuse":
        return result.state is TaskState.FAILED
    return result.state is TaskState.SUCCEEDED or (address in IGNORED and _is_in_doubt(result))


def _is_interrupted(entries: Sequence[Entry]) -> bool:
    """Whether a claim came between an intent and its result."""
    waiting: set[str] = set()
    for entry in entries:
        if entry.kind is EntryKind.INTENT:
            waiting.add(entry.path)
        elif entry.kind is EntryKind.OPERATION:
            waiting.discard(entry.path)
        elif entry.kind is EntryKind.CLAIM and waiting:
            return True
    return False


def resumes_s(record: Record, starts: Sequence[Start], kills: Sequence[Kill]) -> list[float]:
    """For every kill of a node and every task that it held: from the kill until somebody has claimed or begun it.

    Held: begun there, and neither parked, nor begun elsewhere, nor ended when the kill came. Infinite: nobody ever did,
    and the task was not cancelled either.
    """
    begun: dict[str, list[Start]] = defaultdict(list)
    for start in starts:
        begun[start.task].append(start)
    signs = {task: _signs_ms(record.journals.get(task, []), begun[task]) for task in begun}
    parkings = {task: _parked_ms(record.journals.get(task, [])) for task in begun}
    found = []
    for kill in kills:
        if kill.victim is not Victim.NODE:
            continue
        for task, mine in begun.items():
            before = [start for start in mine if start.unix_ms <= kill.unix_ms]
            if not before or before[-1].node != kill.name:
                continue
            end = record.ends.get(task)
            if end is not None and end.unix_ms <= kill.unix_ms:
                continue
            if any(before[-1].unix_ms <= parked <= kill.unix_ms for parked in parkings[task]):
                continue
            after = [sign for sign in signs[task] if sign > kill.unix_ms]
            if not after and end is not None:
                if end.result.state is TaskState.CANCELLED:
                    continue
                after = [end.unix_ms]  # the outcome was under way when the kill came
            found.append((min(after) - kill.unix_ms) / 1000 if after else math.inf)
    return found


def _signs_ms(entries: Sequence[Entry], begun: Sequence[Start]) -> list[int]:
    claims = [entry.started_unix_ms for entry in entries if entry.kind is EntryKind.CLAIM]
    return claims + [start.unix_ms for start in begun]


def _parked_ms(entries: Sequence[Entry]) -> list[int]:
    parks = [entry.value for entry in entries if entry.kind is EntryKind.PARK]
    return [ParkedTask.model_validate_json(value).parked_unix_ms for value in parks]
