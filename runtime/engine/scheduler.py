"""What the next step computes. There are no phases: a sequence has tokens, and those not computed yet get their turn.

A step takes every decode, then chunks of the prompts that run, then requests from the line, for as long as it ends
within the target for the time between two tokens; batch work comes last. Sources: the mixed step, Sarathi-Serve (OSDI
2024); one quantity for prompt, decode, drafts and resumption, vLLM v1.
"""

import math
from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Final

from antiphon.runtime.engine.admission import Admission
from antiphon.runtime.engine.cost import CostModel, Load, load_of
from antiphon.runtime.engine.engine_config import PAGE_TOKENS, EngineConfig
from antiphon.runtime.engine.entry import Entry, State
from antiphon.runtime.engine.line import Line
from antiphon.runtime.engine.pages import PagePool, root_key
from antiphon.runtime.engine.placement import Placed, Placement
from antiphon.runtime.engine.plan import Row, Sampled, Sequence, StepPlan
from antiphon.runtime.engine.programs import Programs
from antiphon.runtime.engine.request import Request
from antiphon.runtime.engine.step import Step
from antiphon.runtime.engine.tenancy import Tenants
from antiphon.runtime.errors import InvalidRequest, ModelBusy

MOST_DRAFTS: Final = 16
LONE_DRAFTS: Final = 7  # of a stream without company: with more a CPU multiplies its row by other codes than without
_IN_LINE_S: Final = 1e12  # later than any other time
_RETRY_S: Final = 0.25  # before somebody is looked for again who could be put back
_CLEARLY: Final = 2.0  # to put a sequence back and take it in again costs up to two computations of it
Propose = Callable[[Sequence, int], tuple[int, ...]]  # drafts for a sequence, at most so many


@dataclass(frozen=True, kw_only=True)
class SchedulerCounts:
    """The scheduler in numbers: now, and (the last two) since it began."""

    waiting: int
    running: int
    pages_used: int
    pages_cached: int
    pages_free: int  # cached ones too
    preemptions: int
    cached_tokens: int  # of prompts, found computed at first admission


class Scheduler:
    """Decides steps and keeps the books: ``add``; ``schedule`` and ``commit`` in turn; ``finish`` or ``abort``.

    ``propose`` gives drafts for a sequence, at most as many as it is told; None: no speculation. Whether a sequence
    with a grammar gets any is the proposer's business. Not thread-safe: the engine's step thread calls it.
    """

    def __init__(self, config: EngineConfig, *, pages: int, context_tokens: int, cost: CostModel | None = None) -> None:
        """``cost``: a fitted model, as calibration leaves it; the units sold are then held against it.

        Raises:
            ConfigurationError: more units were sold than the machine computes.
        """
        self.propose: Propose | None = None
        self.cost = cost or CostModel()
        self.pool = PagePool(pages)
        self.tenants = Tenants(config.tenants, config.unit_tokens_per_minute)
        if self.cost.fitted:
            self.tenants.check_sold(60 / self.cost.token_s)
        self._config = config
        self._admission = Admission(config, pages=pages, context_tokens=context_tokens)
        self._programs = Programs()
        self._line = Line(config.order, self._missing_s)
        self._placement = Placement(self.pool, prefix_cache=config.prefix_cache, invariant=config.batch_invariant)
        self._entries: dict[str, Entry] = {}
        self._running: list[Entry] = []
        self._refused: Entry | None = None  # the last that nobody was put back for, and when
        self._refused_s = 0.0
        self._number = 0
        self._preemptions = 0
        self._cached_tokens = 0

    @property
    def counts(self) -> SchedulerCounts:
        """The scheduler in numbers."""
        return SchedulerCounts(
            waiting=len(self._entries) - len(self._running),
            running=len(self._running),
            pages_used=self.pool.used,
            pages_cached=self.pool.cached,
            pages_free=self.pool.free,
            preemptions=self._preemptions,
            cached_tokens=self._cached_tokens,
        )

    def sequence(self, request_id: str) -> Sequence:
        """The sequence of a request between add and finish. Raises KeyError."""
        return self._entries[request_id].sequence

    def scheduled_s(self, request_id: str) -> float | None:
        """When it got its first row; None while it waits for that. Raises KeyError."""
        return self._entries[request_id].scheduled_s

    def limit(self, request: Request) -> int:
        """The tokens that prompt and output have at most. Raises as ``add``."""
        return self._admission.limit(request)

    def add(self, request: Request, now_s: float, left_s: float | None = None) -> None:
        """Put a request in line; it has ``left_s`` until its deadline (None: all the time it takes).

        Raises:
            InvalidRequest: an empty prompt, or an id that is taken.
            ContextTooLong: the prompt leaves no room for one token, or prompt and output exceed the page pool.
            ModelBusy: the line is full, or its turn would come too late; details have ``retry_after_s``.
        """
        if request.id in self._entries:
            raise InvalidRequest(f"found request id {request.id!r} twice, expected a new one")
        limit = self._admission.limit(request)
        tenant = self.tenants.find(request.tenant)
        waiting = len(self._entries) - len(self._running)
        self._admission.check_line(request, waiting, tenant, self.tenants.active, now_s)
        self.tenants.enter(tenant)
        entry = Entry(
            sequence=Sequence(request=request, tokens=list(request.prompt)),
            program=self._programs.begin(request.run, request.agent, now_s),
            tenant=tenant,
            number=self._number,
            limit=limit,
            keys=[root_key(("shared", "prompts") if tenant.shared_prompts else ("salt", tenant.name))],
            arrived_s=now_s,
        )
        self._number += 1
        self._entries[request.id] = entry
        self._wait(entry)
        if left_s is not None:
            try:
                self._admission.check_deadline(left_s, waiting, lambda: self._ahead(entry, now_s))
            except ModelBusy:
                self.abort(request.id, now_s)
                raise

    def schedule(self, now_s: float) -> StepPlan | None:
        """The next step, None if there is nothing to compute."""
        step = Step(self._config, self.cost)
        mixed, invariant = self._config.prefill == "mixed", self._config.batch_invariant
        if mixed:
            self._decodes(step, now_s)
        prompts = [entry for entry in self._running if entry not in step.rows and not entry.by_tokens(invariant)]
        for spare in (False, True):
            self._prompts(prompts, step, now_s, spare=spare)
        if not mixed and not step.rows:
            self._decodes(step, now_s)
        return step.plan()

    def commit(
        self, plan: StepPlan, sampled: Items[Sampled], elapsed_s: float, now_s: float
    ) -> list[tuple[Sequence, Row, Sampled]]:
        """Book what the step computed: one ``sampled`` for each row that samples, in the plan's order.

        Returns the rows that sampled, but those of requests that were aborted since; their tokens are appended.
        """
        self.cost.observe(load_of(plan.rows), elapsed_s)
        token_s, output_weight = self.cost.token_s, self._config.output_weight or self.cost.output_weight
        news = iter(sampled)
        done = []
        for row in plan.rows:
            new = next(news) if row.samples else None
            sequence = row.sequence
            entry = self._entries.get(sequence.request.id)
            if entry is None or entry.sequence is not sequence:
                continue
            sequence.computed = row.start + row.count
            weighted = 0.0
            if new is not None:
                sequence.computed -= 1 + len(row.drafts) - len(new.tokens)
                sequence.tokens.extend(new.tokens)
                weighted = output_weight * len(new.tokens)
                done.append((sequence, row, new))
            prompt = min(sequence.computed, len(sequence.request.prompt))
            if prompt > entry.charged:
                weighted += prompt - entry.charged
                entry.charged = prompt
            if weighted:
                entry.program.attained_s += weighted * token_s
                entry.tenant.charge(weighted, now_s)
            if sequence.computed >= (entry.indexed + 1) * PAGE_TOKENS or entry.followers or entry.copy:
                self._rejoin(self._placement.computed(entry, now_s))
        return done

    def finish(self, request_id: str, now_s: float) -> None:
        """A reply is complete. Its run may be back soon, so its pages are held for as long as that pays.

        Raises KeyError.
        """
        entry = self._entries[request_id]
        sequence = entry.sequence
        hold_s = 0.0
        if self._config.order == "programs" and sequence.request.run is not None:
            hold_s = self._programs.hold_s(
                entry.program,
                recompute_s=self.cost.recompute_s(sequence.computed),
                pages=len(sequence.pages),
                pool=self.pool.total,
            )
        self._end(entry, now_s, hold_s)

    def abort(self, request_id: str, now_s: float) -> None:
        """A request is given up, wherever it is: all it holds is free at once. An unknown id is none of ours."""
        entry = self._entries.get(request_id)
        if entry is not None:
            self._end(entry, now_s, 0.0)

    def _end(self, entry: Entry, now_s: float, hold_s: float) -> None:
        if entry.state is State.RUNNING:
            self._running.remove(entry)
            self._rejoin(self._placement.leave(entry, now_s + hold_s, now_s))
        else:
            self._placement.let_go(entry, now_s)
        entry.state = State.ENDED
        request = entry.sequence.request
        del self._entries[request.id]
        self._programs.end(request.run, now_s)
        self.tenants.leave(entry.tenant)

    def _rejoin(self, woken: list[Entry]) -> None:
        for entry in woken:
            if entry.state is State.FOLLOWING:
                self._wait(entry)

    def _wait(self, entry: Entry) -> None:
        """In line. What is computed of it is kept longer than the pages of runs that may never be back; among those in
        line the last one's go first."""
        if self._config.order == "programs":
            self._placement.hold(entry, _IN_LINE_S - entry.program.key)
        self._line.push(entry)

    def _ahead(self, entry: Entry, now_s: float) -> int:
        """How many in line go before one, about: of its own tenant those that rank before it, and as many of each other
        tenant, since they take turns; before batch work all online work goes."""
        mine = self._line.rank(entry, now_s)
        waiting = [other for other in self._entries.values() if other.state is not State.RUNNING]
        before = [other for other in waiting if self._line.rank(other, now_s) < mine]
        own = sum(other.tenant is entry.tenant for other in before)
        return len(before) if mine.batch else min(len(before), own * self.tenants.active)

    def _decodes(self, step: Step, now_s: float) -> None:
        """A row for each sequence of which one token is left, after putting back whom the pool cannot hold."""
        invariant = self._config.batch_invariant
        decoding = [entry for entry in self._running if entry.by_tokens(invariant)]
        growing = [entry for entry in decoding if entry.sequence.computed == len(entry.sequence.pages) * PAGE_TOKENS]
        while len(growing) > self.pool.free:
            victim = max(self._running, key=lambda entry: self._line.rank(entry, now_s))
            self._put_back(victim, step, now_s)
            decoding, growing = ([entry for entry in few if entry is not victim] for few in (decoding, growing))
        for entry in growing:
            self._placement.grow(entry, now_s)
        speculate = self.propose is not None and self._config.speculate and not invariant
        for entry in decoding:
            most = LONE_DRAFTS if len(decoding) == 1 else MOST_DRAFTS
            step.decode(entry, self._drafts(entry, most, now_s) if speculate else ())

    def _drafts(self, entry: Entry, most: int, now_s: float) -> tuple[int, ...]:
        """What the proposer offers, as far as all of it could be accepted and there are pages for it."""
        sequence = entry.sequence
        most = min(most, entry.limit - len(sequence.tokens) - 1)
        if self.propose is None or most <= 0:
            return ()
        drafts = self.propose(sequence, most)[:most]
        short = len(sequence.tokens) + len(drafts) - len(sequence.pages) * PAGE_TOKENS
        if short <= 0:
            return drafts
        if self.pool.free <= len(self._running):
            return drafts[:-short]
        self._placement.grow(entry, now_s)
        return drafts

    def _prompts(self, prompts: list[Entry], step: Step, now_s: float, *, spare: bool) -> None:
        """Chunks of the prompts that run, and of those in line, the shortest rest first. A second of waiting counts as
        half a second of rest, so that later ones overtake a prompt of S seconds for 2 S at most."""
        token_s = self.cost.token_s

        def rest_s(entry: Entry) -> float:
            return entry.left * token_s - (now_s - entry.admitted_s) / 2

        def due(entry: Entry) -> bool:
            return entry.state is State.RUNNING and entry not in step.rows

        for entry in sorted(prompts, key=rest_s):
            if entry.spare(now_s) != spare:
                continue
            if due(entry) and self._config.order == "programs":
                self._admit(step, now_s, spare=spare, shorter_than_s=rest_s(entry))  # may put this very one back
            if due(entry) and not step.prompt(entry):
                return
        self._admit(step, now_s, spare=spare)

    def _admit(self, step: Step, now_s: float, *, spare: bool, shorter_than_s: float = math.inf) -> None:
        """Requests from the line while the next one fits; none is overtaken because it is large."""
        while (entry := self._line.first(now_s)) is not None and entry.spare(now_s) <= spare:
            if shorter_than_s < math.inf and self._missing_s(entry) >= shorter_than_s:
                return
            if not self._start(entry, step, now_s):
                return

    def _missing_s(self, entry: Entry) -> float:
        """Seconds to compute what is not cached of one in line."""
        return self.cost.recompute_s(self._placement.missing(entry))

    def _start(self, entry: Entry, step: Step, now_s: float) -> bool:
        """Let the first in line run, or follow one that computes what it needs. False: the line waits."""
        if not step.open:
            return False
        while not self._has_row(entry):
            if not self._displace(entry, step, now_s):
                return False
        while True:
            placed = self._placement.place(entry, len(self._running) // 8, now_s)
            if placed is not Placed.FULL:
                break
            if not self._displace(entry, step, now_s):
                return False
        self._line.pop(entry)
        if placed is Placed.FOLLOWING:
            return True
        self._running.append(entry)
        entry.admitted_s = now_s
        if entry.scheduled_s is None:
            entry.scheduled_s = now_s
            entry.charged = entry.sequence.cached = entry.sequence.computed
            self._cached_tokens += entry.sequence.cached
            self._admission.waited(now_s - entry.arrived_s, now_s)
        return step.prompt(entry)

    def _has_row(self, entry: Entry) -> bool:
        """Whether one more sequence may run: the decodes of all must end in time, or in twice that of a single one,
        where even that is late."""
        rows = len(self._running)
        if rows == 0 or rows >= self._config.max_rows:
            return rows == 0
        keys = sum(len(other.sequence.tokens) for other in self._running) + len(entry.sequence.tokens)
        target_s = max(self._config.itl_target_s, 2 * self.cost.predict(Load(1, keys // (rows + 1))))
        return self.cost.predict(Load(rows + 1, keys)) <= target_s

    def _displace(self, entry: Entry, step: Step, now_s: float) -> bool:
        """Put a running request back for one that goes before it by right: of a tenant that is owed, online before
        batch, or a program that has had clearly less. False if there is none."""
        if self._config.order == "arrival" or (entry is self._refused and now_s < self._refused_s + _RETRY_S):
            return False
        self._refused, self._refused_s = entry, now_s
        victims = [other for other in self._running if other.admitted_s < now_s]
        if not victims:
            return False
        victim = max(victims, key=lambda other: self._line.rank(other, now_s))
        mine, theirs = self._line.rank(entry, now_s), self._line.rank(victim, now_s)
        if mine[:2] != theirs[:2]:
            right = mine < theirs
        else:
            again_s = self.cost.recompute_s(len(victim.sequence.tokens))
            alike = entry.tenant is not victim.tenant or mine.priority == theirs.priority
            right = alike and mine.key + _CLEARLY * again_s < theirs.key
        if right:
            self._refused = None
            self._put_back(victim, step, now_s)
        return right

    def _put_back(self, entry: Entry, step: Step, now_s: float) -> None:
        """Take a running request's pages; it keeps its tokens, and computes again what the prefix cache has lost."""
        self._running.remove(entry)
        step.drop(entry)
        self._rejoin(self._placement.leave(entry, now_s, now_s))
        self._wait(entry)
        self._preemptions += 1
