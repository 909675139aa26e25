"""Random workflows for the state machine's test, the outside world they act upon, and what must hold of both.

A workflow is a tree of instructions. ``Play`` carries one out with a ``Context``; ``World`` sees every effect from
outside and knows what each handler was told, so that it notices whatever happens twice or is told differently.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from antiphon import Context, Message
from antiphon.runtime.agent import Handler
from antiphon.runtime.decision import OnTimeout
from antiphon.runtime.errors import TaskParked

MAX_DEPTH = 2  # of children below a root
RETRIED = "OSError"  # what a step that fails raises


@dataclass(frozen=True, slots=True)
class Step:
    """``ctx.run``. The first ``fails`` executions raise."""

    name: str
    kind: Literal["keyed", "unkeyed", "read"]
    lasts_s: float
    fails: int
    caught: bool


@dataclass(frozen=True, slots=True)
class Nap:
    """``ctx.sleep``."""

    name: str
    length_s: float


@dataclass(frozen=True, slots=True)
class Question:
    """``ctx.approve``; ``answer`` None: nobody answers."""

    name: str
    answer: bool | None
    after_s: float
    timeout_s: float | None
    on_timeout: OnTimeout


@dataclass(frozen=True, slots=True)
class Child:
    """``ctx.call``."""

    name: str
    workflow: int
    timeout_s: float | None
    caught: bool


@dataclass(frozen=True, slots=True)
class Detached:
    """``ctx.submit``."""

    name: str
    workflow: int


@dataclass(frozen=True, slots=True)
class Look:
    """``ctx.now``, ``ctx.random`` and ``ctx.emit``."""

    name: str


@dataclass(frozen=True, slots=True)
class Trip:
    """The handler raises in its first attempts."""

    name: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Together:
    """``ctx.gather``."""

    name: str
    branches: "tuple[Workflow, ...]"
    caught: bool


@dataclass(frozen=True, slots=True)
class Some:
    """``ctx.group``."""

    name: str
    branches: "tuple[Workflow, ...]"
    quorum: int | None
    timeout_s: float | None


Instruction: TypeAlias = Step | Nap | Question | Child | Detached | Look | Trip | Together | Some
Workflow: TypeAlias = tuple[Instruction, ...]


class Order(Message):
    """Carry out a workflow. ``parent``: the task that waits for this one, if one does."""

    workflow: int
    parent: str = ""


class Report(Message):
    """What the handler of ``task`` was told, by the name of the instruction."""

    task: str
    workflow: int
    told: dict[str, Any]


class Proposal(Message):
    """For a person, who is told here what to say, and when."""

    answer: bool | None
    after_s: float


class Author:
    """Invents workflows. ``calm``: none of them fails or cuts anything off."""

    def __init__(self, rng: random.Random, *, calm: bool) -> None:
        self._rng = rng
        self._calm = calm
        self._names = 0
        self.workflows: list[Workflow] = []

    def workflow(self, depth: int = 0) -> int:
        """A new one; its number."""
        number = len(self.workflows)
        self.workflows.append(())
        self.workflows[number] = self._body(depth, size=self._rng.choice((1, 2, 3, 3, 4, 6)), nested=False)
        return number

    def _body(self, depth: int, *, size: int, nested: bool) -> Workflow:
        return tuple(self._instruction(depth, nested=nested) for _ in range(size))

    def _instruction(self, depth: int, *, nested: bool) -> Instruction:
        rng = self._rng
        self._names += 1
        name = f"n{self._names}"
        kinds = ["step"] * 7 + ["nap"] * 2 + ["look", "question"]
        if depth < MAX_DEPTH:
            kinds += ["child", "child", "detached"]
        if not nested:
            kinds += ["together", "some"]
            if not self._calm:
                kinds.append("trip")
        kind = rng.choice(kinds)
        if kind == "step":
            return self._step(name)
        if kind == "nap":
            return Nap(name, rng.choice((0.05, 0.5, 1.5, 4.0, 12.0, 30.0)))
        if kind == "look":
            return Look(name)
        if kind == "question":
            answer = rng.choice((True, False, None))
            timeout_s = rng.choice((3.0, 30.0)) if answer is None else rng.choice((None, 20.0))
            how: tuple[OnTimeout, ...] = ("reject", "approve") if self._calm else ("reject", "approve", "fail")
            return Question(name, answer, rng.choice((0.2, 5.0, 15.0)), timeout_s, rng.choice(how))
        if kind == "child":
            timeout_s = None if self._calm or rng.random() < 0.8 else rng.choice((0.5, 10.0))
            return Child(name, self.workflow(depth + 1), timeout_s, caught=rng.random() < 0.7)
        if kind == "detached":
            return Detached(name, self.workflow(MAX_DEPTH))
        if kind == "trip":
            return Trip(name, rng.choice((1, 1, 2, 9)))
        branches = tuple(self._body(depth, size=rng.choice((1, 1, 2)), nested=True) for _ in range(rng.choice((2, 3))))
        if kind == "together":
            return Together(name, branches, caught=rng.random() < 0.6)
        if self._calm:
            return Some(name, branches, None, None)
        return Some(name, branches, rng.choice((None, 1, 1, 2)), rng.choice((None, 1.0, 8.0)))

    def _step(self, name: str) -> Step:
        rng = self._rng
        kind: Literal["keyed", "unkeyed", "read"] = rng.choice(("keyed", "keyed", "read", "read", "unkeyed"))
        lasts_s = rng.choice((0.0, 0.0, 0.1, 1.0, 1.9, 4.0))
        if self._calm or rng.random() < 0.75:
            return Step(name, kind, lasts_s, 0, caught=False)
        return Step(name, kind, lasts_s, rng.choice((1, 2, 99)), caught=rng.random() < 0.5)


def instructions(workflow: Workflow) -> list[Instruction]:
    """All of them, those in branches too."""
    found: list[Instruction] = []
    for each in workflow:
        found.append(each)
        if isinstance(each, Together | Some):
            for branch in each.branches:
                found.extend(instructions(branch))
    return found


@dataclass(slots=True)
class Effects:
    """What one step of one task did."""

    begun: int = 0
    finished: list[Any] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Attempt:
    """One run of a handler. ``blind``: the task had no journal when it looked."""

    task: str
    parent: str
    began_s: float
    blind: bool


class World:
    """Everything outside: a ledger of effects, what handlers were told, and what went wrong."""

    def __init__(self, ended_s: Callable[[str], float | None]) -> None:
        self.ended_s = ended_s  # when a task's outcome was stored
        self.effects: dict[tuple[str, str], Effects] = {}
        self.ledger: dict[str, int] = {}  # by idempotency key
        self.told: dict[tuple[str, str], tuple[float, Any]] = {}
        self.naps: dict[tuple[str, str], float] = {}
        self.shelved: dict[tuple[str, int], list[dict[str, Any]]] = {}  # told before a parking, by its number
        self.wrong: list[str] = []
        self.lines: list[str] = []  # a diary: the same in every run of a seed
        self.grace_s = 1.0  # how long a node may take to hear that a parent has ended
        self.deaf_until_s = 0.0  # until when nodes may not have heard

    @property
    def now_s(self) -> float:
        """Virtual seconds."""
        return asyncio.get_running_loop().time()

    def note(self, what: str) -> None:
        """A line of the diary."""
        self.lines.append(f"{self.now_s:.6f} {what}")

    def complain(self, what: str) -> None:
        """An invariant does not hold."""
        self.wrong.append(f"at {self.now_s:.3f} s: {what}")
        self.note(f"WRONG {what}")

    def begin(self, ctx: Context, parent: str) -> Attempt:
        """A handler has begun."""
        assert ctx.task_run is not None
        attempt = Attempt(ctx.task_id, parent, self.now_s, blind=ctx.task_run.journal.is_empty)
        number = ctx.task_run.journal.history.number
        shelves = self.shelved.pop((ctx.task_id, number), [])
        if len(shelves) == 1:  # else a stale worker tried to park the task as well: which of them did is not known here
            for name, value in shelves[0].items():
                self.tell(attempt, name, value)
        self.note(f"begin {ctx.task_id} attempt {ctx.attempt} of {ctx.task_run.journal.owner.node}")
        self._check_wanted(attempt, "begins")
        return attempt

    async def perform(self, attempt: Attempt, step: Step, key: str = "") -> int:
        """The effect itself: what a payment service or a database would do."""
        place = (attempt.task, step.name)
        effects = self.effects.setdefault(place, Effects())
        told = self.told.get(place)
        known_s = attempt.began_s
        if attempt.blind:  # it saw no journal, which may have come while it looked
            is_calm = attempt.began_s > self.deaf_until_s + self.grace_s
            known_s = attempt.began_s - self.grace_s if is_calm else 0.0
        if told is not None and told[0] < known_s:
            self.complain(f"{step.kind} {place} is done again by an attempt that began after it was recorded")
        if step.kind == "unkeyed" and effects.begun:
            self.complain(f"unkeyed {place} is begun a second time")
        self._check_wanted(attempt, f"does {step.name}")
        effects.begun += 1
        turn = effects.begun
        self.note(f"effect {place} {turn}")
        await asyncio.sleep(step.lasts_s)
        if turn <= step.fails:
            raise OSError(f"{step.name} fails")
        value = self.ledger.setdefault(key, len(self.ledger)) if key else turn * 1000 + len(self.lines)
        effects.finished.append(value)
        return value

    def tell(self, attempt: Attempt, name: str, value: Any) -> None:
        """A handler was told the result of an operation, which by then is recorded: it is what it will be told."""
        before = self.told.setdefault((attempt.task, name), (self.now_s, value))
        if before[1] != value:
            self.complain(f"{name} of {attempt.task} was {before[1]!r}, now it is {value!r}")

    def nap(self, attempt: Attempt, nap: Nap) -> None:
        """A handler begins to sleep, or does so again."""
        self.naps.setdefault((attempt.task, nap.name), self.now_s)

    def _check_wanted(self, attempt: Attempt, what: str) -> None:
        ended_s = self.ended_s(attempt.parent) if attempt.parent else None
        if ended_s is not None and self.now_s > max(ended_s, self.deaf_until_s) + self.grace_s:
            self.complain(f"{attempt.task} {what}, but its parent ended at {ended_s:.3f} s")


class Play:
    """One attempt at one workflow."""

    def __init__(
        self, world: World, workflows: Sequence[Workflow], handlers: Sequence[Handler[Order, Report]], ctx: Context
    ) -> None:
        self._world = world
        self._workflows = workflows
        self._handlers = handlers
        self._ctx = ctx

    async def __call__(self, order: Order) -> Report:
        """Carry it out."""
        self._attempt = self._world.begin(self._ctx, order.parent)
        self._drawn: list[dict[str, Any]] = []
        run = self._ctx.task_run
        assert run is not None  # its task is durable
        try:
            told = await self._branch(self._workflows[order.workflow])
        except asyncio.CancelledError:
            if isinstance(run.stopped, TaskParked):
                shelf = {name: value for drawn in self._drawn for name, value in drawn.items()}
                self._world.shelved.setdefault((self._ctx.task_id, run.journal.history.number + 1), []).append(shelf)
            raise
        return Report(task=self._ctx.task_id, workflow=order.workflow, told=told)

    async def _branch(self, workflow: Workflow) -> dict[str, Any]:
        told: dict[str, Any] = {}
        drawn: dict[str, Any] = {}  # rides on the next append, as caught errors do: not yet binding
        self._drawn.append(drawn)
        for each in workflow:
            if isinstance(each, Look):
                await self._ctx.emit(each.name)
                drawn[each.name] = [self._ctx.now(), self._ctx.random.random()]
                told.update(drawn)
                continue
            if isinstance(each, Trip):
                if self._ctx.attempt <= each.attempts:
                    raise OSError(f"{each.name} trips")
                continue
            value, is_recorded = await self._outcome(each)
            told[each.name] = value
            if is_recorded:
                for name, one in {**drawn, each.name: value}.items():
                    self._world.tell(self._attempt, name, one)
                drawn.clear()
            else:
                drawn[each.name] = value
        return told

    async def _outcome(self, each: Instruction) -> tuple[Any, bool]:
        """What the handler was told, and whether all of that is in the journal by now."""
        if not getattr(each, "caught", False):
            return await self._do(each), not isinstance(each, Together)
        try:
            return await self._do(each), not isinstance(each, Together)
        except Exception as error:
            return f"caught {type(error).__name__}", False

    async def _do(self, each: Instruction) -> Any:
        ctx, world, attempt = self._ctx, self._world, self._attempt
        if isinstance(each, Step):
            return await ctx.run(each.name, self._step(each), effect="read" if each.kind == "read" else "write")
        if isinstance(each, Nap):
            world.nap(attempt, each)
            return await ctx.sleep(each.length_s)
        if isinstance(each, Question):
            proposal = Proposal(answer=each.answer, after_s=each.after_s)
            decision = await ctx.approve(proposal, timeout=each.timeout_s, on_timeout=each.on_timeout)
            return [decision.approved, decision.expired]
        if isinstance(each, Child):
            order = Order(workflow=each.workflow, parent=ctx.task_id)
            report = await ctx.call(self._handler(each.workflow), order, timeout_s=each.timeout_s)
            return report.model_dump(mode="json")
        if isinstance(each, Detached):
            return await ctx.submit(self._handler(each.workflow), Order(workflow=each.workflow))
        if isinstance(each, Together):
            return await ctx.gather(*(self._branch(branch) for branch in each.branches))
        assert isinstance(each, Some)
        async with ctx.group(quorum=each.quorum, timeout_s=each.timeout_s) as group:
            for branch in each.branches:
                group.start(self._branch(branch))
        return [
            "cancelled" if one.cancelled else one.value if one.error is None else f"error {type(one.error).__name__}"
            for one in group.outcomes
        ]

    def _handler(self, workflow: int) -> Handler[Order, Report]:
        return self._handlers[workflow % len(self._handlers)]

    def _step(self, step: Step) -> Callable[[], Awaitable[int]] | Callable[[str], Awaitable[int]]:
        world, attempt = self._world, self._attempt

        async def keyed(key: str) -> int:
            return await world.perform(attempt, step, key)

        async def plain() -> int:
            return await world.perform(attempt, step)

        return keyed if step.kind == "keyed" else plain
