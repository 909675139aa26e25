"""What holds in every step of every schedule: pages, plans, progress, and replies that do not depend on company."""

import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from antiphon.runtime.engine.cost import Load, load_of
from antiphon.runtime.engine.engine_config import PAGE_TOKENS, EngineConfig, TenantPolicy
from antiphon.runtime.engine.plan import Sequence, StepPlan
from antiphon.runtime.engine.request import Request
from antiphon.runtime.engine.scheduler import Scheduler
from antiphon.runtime.engine.simulation import VirtualRunner
from antiphon.schemas.inference import Sampling

VOCABULARY = 97


def step_s(load: Load) -> float:
    """Seconds of a step of the machine that is simulated."""
    return 0.008 + 0.002 * load.decodes + 0.0007 * load.prompt_tokens + 1e-6 * (load.decode_keys + load.prompt_pairs)


def alone(request: Request) -> list[int]:
    """The reply to a request that has an engine for itself, in one chunk and without cache."""
    scheduler = Scheduler(EngineConfig(prefix_cache=False), pages=64, context_tokens=4096)
    scheduler.add(request, 0.0)
    runner = VirtualRunner(64, VOCABULARY)
    sequence = scheduler.sequence(request.id)
    while sequence.output_tokens < request.sampling.max_tokens:
        plan = scheduler.schedule(0.0)
        assert plan is not None
        scheduler.commit(plan, runner.run(plan), 0.01, 0.0)
    return sequence.tokens[len(request.prompt) :]


class Checked:
    """A scheduler, a runner and the checks between each schedule and its commit."""

    def __init__(self, config: EngineConfig, pages: int) -> None:
        self.config = config
        self.scheduler = Scheduler(config, pages=pages, context_tokens=4096)
        self.runner = VirtualRunner(pages, VOCABULARY)
        self.now_s = 0.0
        self.steps = 0
        self.live: dict[str, Sequence] = {}
        self.replies: dict[str, list[int]] = {}
        self.last_row: dict[str, int] = {}  # step in which a running request had its last row

    def add(self, request: Request) -> None:
        """A request arrives."""
        self.scheduler.add(request, self.now_s)
        self.live[request.id] = self.scheduler.sequence(request.id)

    def abort(self, request_id: str) -> None:
        """A request is given up."""
        self.scheduler.abort(request_id, self.now_s)
        assert self.live.pop(request_id).pages == []

    def step(self, abort: str | None = None) -> bool:
        """One step; ``abort`` is given up while it is computed. False if there was nothing to compute."""
        decoding = {
            name
            for name, sequence in self.live.items()
            if sequence.pages and sequence.computed + 1 == len(sequence.tokens)
        }
        preemptions = self.scheduler.counts.preemptions
        predict = self.scheduler.cost.predict
        target_s = self.config.itl_target_s
        plan = self.scheduler.schedule(self.now_s)
        if plan is None:
            assert self.scheduler.counts.running == 0
            return False
        self.check_plan(plan)
        scheduled = {row.sequence.request.id for row in plan.rows}
        put_back = {name for name in decoding if not self.live[name].pages}
        if self.config.prefill == "mixed":
            assert decoding - put_back <= scheduled
        assert len(put_back) <= self.scheduler.counts.preemptions - preemptions
        load = load_of(plan.rows)
        chunks = [row.count for row in plan.rows if row.count > 1 and not row.drafts]
        if self.config.prefill == "mixed" and decoding - put_back and chunks and not self.config.batch_invariant:
            assert predict(load) <= target_s or (len(chunks) == 1 and chunks[0] <= 32)
        sampled = self.runner.run(plan)
        elapsed_s = step_s(load)
        self.now_s += elapsed_s
        if abort is not None:
            self.abort(abort)
        for sequence, _, _ in self.scheduler.commit(plan, sampled, elapsed_s, self.now_s):
            request = sequence.request
            if sequence.output_tokens >= request.sampling.max_tokens:
                self.replies[request.id] = sequence.tokens[len(request.prompt) :]
                self.scheduler.finish(request.id, self.now_s)
                del self.live[request.id]
        self.check_pages()
        self.check_progress(scheduled)
        return True

    def check_plan(self, plan: StepPlan) -> None:
        """Rows fit their sequences; no page is written by two of them, or by one while another reads it."""
        assert len({row.sequence.request.id for row in plan.rows}) == len(plan.rows)
        references = Counter(page for sequence in self.live.values() for page in sequence.pages)
        written = [target for _, target in plan.copies]
        assert len(set(written)) == len(written)
        assert not {source for source, _ in plan.copies} & set(written)
        owners: dict[int, str] = {}
        singles = [row.count == 1 and row.samples for row in plan.rows]
        assert singles == sorted(singles, reverse=True)
        for row in plan.rows:
            sequence = row.sequence
            assert row.count > 0
            assert row.start == sequence.computed
            known = row.start + row.count - len(row.drafts)
            assert known <= len(sequence.tokens)
            assert row.samples == (known == len(sequence.tokens))
            assert row.start + row.count <= len(sequence.pages) * PAGE_TOKENS
            assert sequence.output_tokens + 1 + len(row.drafts) <= sequence.request.sampling.max_tokens
            for page in sequence.pages[row.start // PAGE_TOKENS : -(-(row.start + row.count) // PAGE_TOKENS)]:
                assert owners.setdefault(page, sequence.request.id) == sequence.request.id
                assert references[page] == 1
        assert len(plan.rows) <= self.config.max_rows

    def check_pages(self) -> None:
        """References are those of live sequences, and used and free pages add up."""
        pool = self.scheduler.pool
        live = {page for sequence in self.live.values() for page in sequence.pages}
        assert pool.used >= len(live)  # the sources of copies not made yet
        assert pool.used <= len(live) + len(self.live)
        assert pool.used + pool.free == pool.total
        counts = self.scheduler.counts
        assert counts.waiting + counts.running == len(self.live)

    def check_progress(self, scheduled: set[str]) -> None:
        """A request that runs gets a row at least every 300 steps."""
        self.steps += 1
        for name in list(self.last_row):
            if name not in self.live or not self.live[name].pages:
                del self.last_row[name]
        for name, sequence in self.live.items():
            if sequence.pages:
                last = self.last_row.setdefault(name, self.steps)
                assert self.steps - last < 300
                if name in scheduled:
                    self.last_row[name] = self.steps

    def drain(self) -> None:
        """Compute until all is done."""
        steps = 0
        while self.live:
            assert self.step()
            steps += 1
            assert steps < 20_000


def requests(rng: random.Random, count: int, *, longest: int, outputs: int) -> list[Request]:
    """Requests that share beginnings in every way: none, part of a page, whole pages, all; online and batch, of runs
    and tenants."""
    stems = [tuple(rng.randrange(VOCABULARY) for _ in range(rng.choice((10, 64, 100, 128, longest)))) for _ in range(3)]
    found = []
    for number in range(count):
        stem = rng.choice(stems)
        own = tuple(rng.randrange(VOCABULARY) for _ in range(rng.choice((0, 0, 1, 5, 64, rng.randint(1, longest)))))
        prompt = (stem[: rng.choice((len(stem), rng.randint(1, len(stem))))] + own)[: longest + 64]
        found.append(
            Request(
                id=str(number),
                prompt=prompt,
                run=rng.choice((None, "r1", "r2", "r3")),
                agent=rng.choice((None, "a")),
                priority=rng.choice((0, 0, 0, 5, -1)),
                tenant=rng.choice(("", "", "t1", "t2")),
                sampling=Sampling(max_tokens=rng.randint(1, outputs)),
            )
        )
    return found


def proposer(rng: random.Random, truth: dict[str, list[int]]) -> object:
    """Drafts of which some are right."""

    def propose(sequence: Sequence, most: int) -> tuple[int, ...]:
        reply = truth[sequence.request.id][sequence.output_tokens :][: rng.randint(0, most)]
        return tuple(token if rng.random() < 0.8 else (token + 1) % VOCABULARY for token in reply)

    return propose


configs = st.builds(
    EngineConfig,
    max_rows=st.sampled_from([1, 3, 16]),
    itl_target_s=st.sampled_from([0.005, 0.05, 0.3]),
    prefix_cache=st.booleans(),
    batch_invariant=st.booleans(),
    order=st.sampled_from(["programs", "arrival"]),
    prefill=st.sampled_from(["mixed", "mixed", "first"]),
    tenants=st.sampled_from([{}, {"t1": TenantPolicy(units=1)}, {"t1": TenantPolicy(shared_prompts=True)}]),
    unit_tokens_per_minute=st.just(3000.0),
)


# a prompt that admitting another one puts back just as its own turn comes
PUT_BACK = EngineConfig(
    max_rows=1, itl_target_s=0.005, prefix_cache=False, tenants={"t1": TenantPolicy(units=1)},
    unit_tokens_per_minute=3000.0,
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(config=PUT_BACK, seed=29, pages=12, speculate=False)
@given(config=configs, seed=st.integers(0, 10**9), pages=st.integers(12, 40), speculate=st.booleans())
def test_every_schedule_keeps_the_rules_and_gives_the_same_replies(
    config: EngineConfig, seed: int, pages: int, speculate: bool
) -> None:
    """Any mix of requests in any configuration, with aborts at any moment: each step keeps all invariants, replies
    are those of an engine that does one thing at a time, and in the end no page is used."""
    rng = random.Random(seed)
    todo = requests(rng, 14, longest=400, outputs=60)
    truth = {request.id: alone(request) for request in todo}
    engine = Checked(config, pages)
    if speculate:
        engine.scheduler.propose = proposer(rng, truth)  # type: ignore[assignment]
    while todo:
        for _ in range(min(len(todo), rng.choice((0, 0, 1, 4)))):
            engine.add(todo.pop())
        abort = rng.choice(sorted(engine.live)) if engine.live and rng.random() < 0.03 else None
        if not engine.step(abort):
            engine.now_s += 0.1
        if engine.live and rng.random() < 0.03:
            engine.abort(rng.choice(sorted(engine.live)))
    engine.drain()
    for name, reply in engine.replies.items():
        assert reply == truth[name], name
    assert engine.scheduler.pool.used == 0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**9), pages=st.integers(12, 40))
def test_abort_at_every_step_frees_everything(seed: int, pages: int) -> None:
    """Wherever requests are, in line, following, half computed or put back, giving them all up leaves no page used."""
    rng = random.Random(seed)
    todo = requests(rng, 8, longest=300, outputs=30)
    for stop in range(0, 40, 3):
        engine = Checked(EngineConfig(max_rows=4), pages)
        for request in todo:
            engine.add(request)
        for _ in range(stop):
            engine.step()
        if engine.live:
            engine.step(abort=rng.choice(sorted(engine.live)))
        for name in sorted(engine.live):
            engine.abort(name)
        assert engine.scheduler.pool.used == 0
        counts = engine.scheduler.counts
        assert (counts.waiting, counts.running) == (0, 0)
        assert engine.scheduler.schedule(engine.now_s) is None


def test_ten_thousand_mixed_requests_leave_no_page_used() -> None:
    """A soak in virtual time: bursts and lulls, small pool, aborts, all kinds of requests; nothing is left over."""
    rng = random.Random(11)
    scheduler = Scheduler(EngineConfig(max_rows=48, max_waiting=20_000), pages=96, context_tokens=4096)
    runner = VirtualRunner(96, VOCABULARY)
    todo = requests(rng, 10_000, longest=150, outputs=8)
    live: set[str] = set()
    now_s = 0.0
    while todo or live:
        for _ in range(min(len(todo), rng.choice((0, 0, 5, 30)) if len(live) < 200 else 0)):
            request = todo.pop()
            scheduler.add(request, now_s)
            live.add(request.id)
        if live and rng.random() < 0.2:
            name = rng.choice(sorted(live))
            scheduler.abort(name, now_s)
            live.discard(name)
        plan = scheduler.schedule(now_s)
        if plan is None:
            now_s += 0.05
            continue
        elapsed_s = step_s(load_of(plan.rows))
        now_s += elapsed_s
        for sequence, _, _ in scheduler.commit(plan, runner.run(plan), elapsed_s, now_s):
            if sequence.output_tokens >= sequence.request.sampling.max_tokens:
                scheduler.finish(sequence.request.id, now_s)
                live.remove(sequence.request.id)
    counts = scheduler.counts
    assert (counts.waiting, counts.running, counts.pages_used) == (0, 0, 0)
    assert counts.pages_free == 96
    assert counts.cached_tokens > 0


@pytest.mark.parametrize("chunk_target_s", (0.005, 0.03, 1.0))
def test_the_reply_is_equal_for_every_chunk_size(chunk_target_s: float) -> None:
    """A prompt cut small, because others decode and the target is tight, yields what it yields whole."""
    rng = random.Random(12)
    todo = requests(rng, 6, longest=600, outputs=20)
    engine = Checked(EngineConfig(itl_target_s=chunk_target_s), 128)
    for request in todo:
        engine.add(request)
        engine.step()
    engine.drain()
    assert engine.replies == {request.id: alone(request) for request in todo}
