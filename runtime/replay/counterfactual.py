"""Counterfactual replay: a recorded task as it was up to an operation, and from there on with something changed."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from antiphon.runtime.delivery.history import follows, split
from antiphon.runtime.delivery.payload import decode, encode
from antiphon.runtime.errors import InvalidMessage, Unanswerable, to_info
from antiphon.runtime.policies.aside import Aside
from antiphon.runtime.policies.chain import Interceptor, Next, build
from antiphon.runtime.policies.deadline import DeadlineInterceptor
from antiphon.runtime.policies.guard import guard
from antiphon.runtime.policies.interceptor import PolicyInterceptor
from antiphon.runtime.policies.remedies import remedies_of
from antiphon.runtime.policies.written import Written
from antiphon.runtime.replay.live import Did, Live, Rules
from antiphon.runtime.replay.outside import Outside
from antiphon.runtime.replay.player import Player
from antiphon.runtime.replay.record import RecordedRun, RecordedTask
from antiphon.runtime.replay.recordings import Recordings
from antiphon.runtime.replay.sealed import history_of
from antiphon.runtime.replay.stage import Part, Stage, open_stage
from antiphon.runtime.replay.strict import LONGEST_S
from antiphon.runtime.replay.usage import Used, used_below, used_in
from antiphon.runtime.settings import Settings
from antiphon.runtime.system import System
from antiphon.runtime.virtual_time import run_virtual
from antiphon.schemas.message import Message
from antiphon.schemas.policy import Level, Policy
from antiphon.schemas.task import ErrorInfo

_PATH = re.compile(r"[1-9]\d{0,8}(\.[a-z]{1,6}\.[1-9]\d{0,8})*(\.[a-z]{1,6})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is other than it was. ``start`` is the path of the first operation that the record does not answer."""

    start: str = "1"
    message: bytes | None = None
    policies: Sequence[Policy] = ()
    rules: Rules = field(default_factory=lambda: Rules(models={}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """How a task went: its reply's JSON or its error, seconds from beginning to end, and what models used."""

    value: bytes
    error: str
    took_s: float
    used: Used


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterfactual:
    """The record beside what would have been. ``did`` are the operations that the record did not answer by place."""

    recorded: Side
    replayed: Side
    did: tuple[Did, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """One task to be done under ``rules``; ``recordings`` answer requests that were made before."""

    part: Part
    start_unix_ms: int
    recordings: Recordings
    rules: Rules
    policies: Sequence[Policy] = ()
    seed: int = 0


def replay_with(
    system: System, settings: Settings, run: RecordedRun, change: Change, outside: Outside
) -> Counterfactual:
    """Do the run's first task again with ``change``.

    Raises:
        Unanswerable: the run has no such operation, or one that may not be done is needed.
        Diverged: the code does something else before ``start`` already.
        InvalidMessage: the message is not what the handler takes.
        UnknownAgent, UnknownHandler: the system lacks who did it.
    """
    root = run.root
    _check_start(root, change.start)
    part = Part(
        address=root.address,
        headers=root.ended.headers,
        body=root.ended.body if change.message is None else _message(system, root, change.message),
        task=root.id,
        run=run.run,
        history=history_of(root.batch, lambda path: not is_from(path, change.start)),
    )
    play = Play(
        part=part,
        start_unix_ms=root.start_unix_ms,
        recordings=Recordings.of(run),
        rules=change.rules,
        policies=change.policies,
    )
    replayed, did = played(system, settings, play, outside, run)
    return Counterfactual(recorded=side_of(run, root, outside), replayed=replayed, did=did)


def side_of(run: RecordedRun, task: RecordedTask, outside: Outside) -> Side:
    """How the task went then."""
    said = ErrorInfo.model_validate_json(task.ended.error) if task.ended.error else None
    return Side(
        value=task.ended.value,
        error="" if said is None else f"{said.type}: {said.message}",
        took_s=task.took_s,
        used=used_below(run, task, outside.price),
    )


def played(
    system: System, settings: Settings, play: Play, outside: Outside, run: RecordedRun | None = None
) -> tuple[Side, tuple[Did, ...]]:
    """How the task goes now, and what it did. ``run``: whose record answers what comes before. Raises as above."""
    return run_virtual(_played(system, settings, play, outside, run), seed=play.seed, shuffle=False, limit_s=LONGEST_S)


def is_from(path: str, start: str) -> bool:
    """Whether an operation is ``start``, inside it, or can only be reached after it."""
    mine, first = split(path), split(start)
    return mine[: len(first)] == first or follows(mine, first, is_group=False)


async def _played(
    system: System, settings: Settings, play: Play, outside: Outside, run: RecordedRun | None
) -> tuple[Side, tuple[Did, ...]]:
    made: list[tuple[Player, Live]] = []
    aside = Aside()

    def chain(stage: Stage) -> Next:
        host = stage.host
        replaces = bool(play.rules.models or play.policies or play.rules.fresh)
        live = Live(stage, play.recordings, play.rules, outside, replaces=replaces)
        player = Player(host.clock)
        made.append((player, live))
        written = Written()
        remedies = remedies_of(
            clock=host.clock,
            models=host.models,
            telemetry=host.telemetry,
            written=written,
            aside=aside,
            give_up=host.cancel.signal,
            rng=random.Random(play.seed),
        )
        host.policies.agents = frozenset(stage.agents)
        host.policies.give([policy.model_copy(update={"level": Level.ON}) for policy in play.policies])
        parts: list[Interceptor] = [player, DeadlineInterceptor(host.clock), guard]
        return build([*parts, PolicyInterceptor(host.policies, remedies, written, host.clock)], live)

    async with open_stage(system, settings, start_unix_ms=play.start_unix_ms, chain=chain) as stage:
        ((player, live),) = made
        value, error = b"", ""
        try:
            value = await stage.play(play.part)
        except Exception as failure:
            info = to_info(failure)
            if info.type in ("Diverged", "UnknownAgent", "UnknownHandler") and live.stopped is None:
                raise
            error = f"{info.type}: {info.message}"
        finally:
            await aside.close()
        if live.stopped is not None:
            raise live.stopped
        took_s = stage.host.clock.unix_ns() / 1e9 - play.start_unix_ms / 1000
    used = used_in((entry for _, entry in player.answered), outside.price)
    for task, entry in player.answered if run is not None else ():
        assert run is not None
        child = run.child(task, entry.path) if entry.operation == "call" else None
        used += used_below(run, child, outside.price) if child is not None else Used()
    for each in live.did:
        used += each.used
    return Side(value=value, error=error, took_s=took_s, used=used), tuple(live.did)


def _check_start(root: RecordedTask, start: str) -> None:
    if _PATH.fullmatch(start) is None:
        raise Unanswerable(f"--from is {start!r}, expected the path of an operation, such as 3 or 3.b.1")
    paths = [entry.path for entry in root.batch.entries if entry.path]
    if start != "1" and not any(path == start or path.startswith(f"{start}.") for path in paths):
        known = ", ".join(list(root.operations)[:20])
        raise Unanswerable(
            f"task {root.id} has no operation {start}: it recorded {known} (`antiphon journal` shows them)"
        )


def _message(system: System, root: RecordedTask, body: bytes) -> bytes:
    agent = next((each for each in system.agents if each.name == root.address.agent), None)
    handler = None if agent is None else agent.handlers.get(root.address.handler)
    if handler is None:
        raise InvalidMessage(f"the system has no handler {root.address} that takes a message")
    taken: type[Message] = handler.input
    return encode(decode(taken, body))


def models_of(swaps: Sequence[str]) -> Mapping[str, str]:
    """``old=new`` as a person types it, several times. Raises Unanswerable."""
    found: dict[str, str] = {}
    for text in swaps:
        old, equals, new = text.partition("=")
        if not (old and equals and new):
            raise Unanswerable(f"--model is {text!r}, expected OLD=NEW, such as smollm2-360m=smollm2-135m")
        found[old] = new
    return found
