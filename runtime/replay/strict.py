"""Strict replay: the code of now on the record of then, and the first operation in which they differ."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass

from antiphon.runtime.branches import letters
from antiphon.runtime.delivery.history import split
from antiphon.runtime.delivery.recorded import fingerprint
from antiphon.runtime.errors import Diverged, TaskCancelled, VersionMismatch, to_info
from antiphon.runtime.policies.chain import Next, Operation, Outcome, build
from antiphon.runtime.replay.player import Player
from antiphon.runtime.replay.record import RecordedRun, RecordedTask
from antiphon.runtime.replay.sealed import history_of
from antiphon.runtime.replay.stage import Part, Stage, open_stage
from antiphon.runtime.settings import Settings
from antiphon.runtime.system import System
from antiphon.runtime.virtual_time import run_virtual
from antiphon.schemas.journal import Entry, EntryKind
from antiphon.schemas.task import ErrorInfo, TaskState

GRACE_S = 60.0  # virtual: an operation without record waits so long for the handler to end without it
LONGEST_S = 10 * 365 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One side of a divergence; ``content`` is the request, where it is known."""

    operation: str
    target: str = ""
    request: str = ""
    content: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """Where code and record part. ``recorded`` None: the record has no such; ``found`` None: the code left it out."""

    task: str
    handler: str
    path: str
    recorded: Shown | None
    found: Shown | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a strict replay went: how much was answered, and the first divergence, if any."""

    tasks: int
    operations: int
    divergence: Divergence | None


def replay(
    system: System, settings: Settings, run: RecordedRun, progress: Callable[[], None] = lambda: None
) -> Verdict:
    """Do every task of the run again, with no effect on anything; stop at the first divergence.

    Raises:
        UnknownAgent, UnknownHandler: the system lacks who did a task.
        VersionMismatch: another version of the agent did it.
    """
    operations = 0
    for done, task in enumerate(run.tasks.values()):
        divergence = run_virtual(_replay_task(system, settings, run, task), shuffle=False, limit_s=LONGEST_S)
        if divergence is not None:
            return Verdict(tasks=done, operations=operations, divergence=divergence)
        operations += len(task.operations)
        progress()
    return Verdict(tasks=len(run.tasks), operations=operations, divergence=None)


async def _replay_task(system: System, settings: Settings, run: RecordedRun, task: RecordedTask) -> Divergence | None:
    player: list[Player] = []

    def chain(stage: Stage) -> Next:
        player.append(Player(stage.host.clock))
        return build([player[0]], _Absent(stage, task))

    async with open_stage(system, settings, start_unix_ms=task.resumed_unix_ms, chain=chain) as stage:
        agent = stage.agent(task.address)
        if agent.version != task.batch.version:
            raise VersionMismatch(
                f"task {task.id} was done by {agent.name}@{task.batch.version}, the system has {agent.version}: "
                "they differ on purpose; replay it with the code of that version"
            )
        part = Part(
            address=task.address,
            headers=task.ended.headers,
            body=task.ended.body,
            task=task.id,
            run=run.run,
            history=history_of(task.batch),
        )
        value, error = b"", b""
        try:
            value = await stage.play(part)
        except Diverged as diverged:
            return _divergence(run, task, diverged.details["path"], player[0])
        except Exception as failure:
            error = to_info(failure).model_dump_json().encode()
        for entry in stage.journals[task.id].added:
            return _divergence(run, task, entry.path, player[0], entry)
        if task.batch.state == TaskState.CANCELLED:
            return None  # where it was stopped is not in the record
        made = {path for _, path in player[0].made}
        for path in task.operations:
            if path not in made and not _was_left(task, path):
                return _divergence(run, task, path, player[0])
        return _result(task, value, error)


class _Absent:
    """Where operations end that the record does not have."""

    def __init__(self, stage: Stage, task: RecordedTask) -> None:
        self._clock = stage.host.clock
        self._task = task

    async def __call__(self, operation: Operation) -> Outcome:
        """Wait whether the handler ends without it, as it did then. Raises Diverged, or how the task was stopped."""
        left_s = self._task.ended.ended_unix_ms / 1000 - self._clock.unix_ns() / 1e9
        await asyncio.sleep(max(0.0, left_s) + GRACE_S)
        run = operation.task_run
        assert run is not None  # asks are answered from the record, so that none is made here
        if self._task.batch.state == TaskState.CANCELLED:
            raise run.halt(TaskCancelled(f"task {self._task.id} was stopped here", task=self._task.id))
        raise run.halt(Diverged("the record has no such operation", path=operation.path, task=self._task.id))


def _divergence(
    run: RecordedRun, task: RecordedTask, path: str, player: Player, added: Entry | None = None
) -> Divergence:
    then = next((entry for entry in reversed(task.batch.entries) if entry.path == path), None)
    now = player.made.get((task.id, path))
    found = None if now is None else _shown(now)
    if found is None and added is not None:
        found = Shown(operation=added.operation or added.kind.value, content=added.value.decode(errors="replace"))
    return Divergence(
        task=task.id,
        handler=str(task.address),
        path=path,
        recorded=None if then is None else _recorded(run, task, then),
        found=found,
    )


def _shown(operation: Operation) -> Shown:
    return Shown(
        operation=operation.kind.value,
        target=operation.target,
        request=fingerprint(operation.body),
        content=operation.body.decode(errors="replace"),
    )


def _recorded(run: RecordedRun, task: RecordedTask, entry: Entry) -> Shown:
    """The entry; the request of a call is what the child was given, that of a model call is its conversation."""
    content = ""
    child = run.child(task.id, entry.path)
    if child is not None:
        content = child.ended.body.decode(errors="replace")
    elif entry.conversation:
        blocks = {name: block for each in task.batch.entries for name, block in (each.blocks or {}).items()}
        turns = [json.loads(blocks[name]) for name in entry.conversation if blocks.get(name)]
        content = json.dumps({"conversation": turns}, ensure_ascii=False)
    return Shown(
        operation=entry.operation or entry.kind.value, target=entry.target, request=entry.request, content=content
    )


def _was_left(task: RecordedTask, path: str) -> bool:
    """Whether the operation belongs to a member of a group that the handler did not wait for."""
    for entry in task.batch.entries:
        if entry.kind is EntryKind.GROUP and path.startswith(f"{entry.path}."):
            member = str(split(path)[len(split(entry.path))])
            return member not in {letters(index) for index in json.loads(entry.value)}
    return False


def _result(task: RecordedTask, value: bytes, error: bytes) -> Divergence | None:
    """Whether the handler ended as it did then; of an error its type and message count."""
    then, now = _said(task.ended.value, task.ended.error), _said(value, error)
    if then == now:
        return None
    sides = [Shown(operation=name, request=fingerprint(said.encode()), content=said) for name, said in (then, now)]
    return Divergence(task=task.id, handler=str(task.address), path="", recorded=sides[0], found=sides[1])


def _said(value: bytes, error: bytes) -> tuple[str, str]:
    if error:
        info = ErrorInfo.model_validate_json(error)
        return "error", f"{info.type}: {info.message}"
    return "result", value.decode(errors="replace")
