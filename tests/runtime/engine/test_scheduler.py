"""What goes into a step, in which order, and what is refused."""

import random
import statistics
import time

import pytest

from antiphon.runtime.engine.cost import CostModel, Load
from antiphon.runtime.engine.engine_config import EngineConfig, TenantPolicy
from antiphon.runtime.engine.plan import Sampled, Sequence, StepPlan
from antiphon.runtime.engine.request import Request
from antiphon.runtime.engine.scheduler import Scheduler
from antiphon.runtime.engine.simulation import Simulation
from antiphon.runtime.errors import ConfigurationError, ContextTooLong, InvalidRequest, ModelBusy
from antiphon.schemas.inference import Sampling


def step_s(load: Load) -> float:
    """Seconds of a step of the machine that is simulated."""
    return 0.008 + 0.002 * load.decodes + 0.0007 * load.prompt_tokens


def ids(seed: int, count: int) -> tuple[int, ...]:
    """Token ids that differ with the seed."""
    rng = random.Random(seed)
    return tuple(rng.randrange(97) for _ in range(count))


def ask(name: str, prompt: tuple[int, ...], tokens: int = 8, **more: object) -> Request:
    """A request for so many tokens."""
    return Request(id=name, prompt=prompt, sampling=Sampling(max_tokens=tokens), **more)  # type: ignore[arg-type]


def simulation(pages: int = 256, cost: CostModel | None = None, **config: object) -> Simulation:
    """An engine in virtual time."""
    settings = EngineConfig(**config)  # type: ignore[arg-type]
    return Simulation(Scheduler(settings, pages=pages, context_tokens=8192, cost=cost), step_s)


def run(engine: Simulation, *names: str) -> list[StepPlan]:
    """Steps until the named requests, or all, have ended."""
    plans: list[StepPlan] = []
    left = set(names)
    while True:
        plan, ended = engine.step()
        if plan is None:
            return plans
        plans.append(plan)
        left -= {sequence.request.id for sequence in ended}
        if names and not left:
            return plans


def rows(plan: StepPlan | None) -> list[tuple[str, int]]:
    """Who computes how many tokens."""
    assert plan is not None
    return [(row.sequence.request.id, row.count) for row in plan.rows]


def computed(plans: list[StepPlan]) -> int:
    """Tokens that the steps computed."""
    return sum(plan.new_tokens for plan in plans)


def test_what_cannot_be_served_is_refused_with_the_numbers() -> None:
    """No prompt, an id twice, a prompt as long as the context, more than the pool holds: each says what it found."""
    scheduler = Scheduler(EngineConfig(), pages=4, context_tokens=1000)
    with pytest.raises(InvalidRequest, match="empty"):
        scheduler.add(ask("a", ()), 0.0)
    scheduler.add(ask("a", (1,)), 0.0)
    with pytest.raises(InvalidRequest, match="'a' twice"):
        scheduler.add(ask("a", (1,)), 0.0)
    with pytest.raises(ContextTooLong, match=r"1000 tokens.*1000"):
        scheduler.add(ask("b", (1,) * 1000), 0.0)
    with pytest.raises(ContextTooLong, match=r"200 prompt tokens and up to 57 of output.*256") as found:
        scheduler.add(ask("b", (1,) * 200, 57), 0.0)
    assert found.value.details["pool_tokens"] == "256"
    scheduler.add(ask("b", (1,) * 200, 56), 0.0)
    default = Sampling(max_tokens=57, clip=True)
    assert scheduler.limit(Request(id="c", prompt=(1,) * 200, sampling=default)) == 256
    with pytest.raises(ContextTooLong, match="256 prompt tokens"):
        scheduler.limit(Request(id="c", prompt=(1,) * 256, sampling=default))


def test_a_full_line_says_when_to_come_again_and_keeps_places_for_who_paid() -> None:
    """Strangers fill three quarters of a line where units are sold; the rest is for tenants inside theirs."""
    config = EngineConfig(max_waiting=8, tenants={"paid": TenantPolicy(units=1)}, unit_tokens_per_minute=600.0)
    scheduler = Scheduler(config, pages=8, context_tokens=1000)
    scheduler.tenants.find("paid").fill(0.0)
    for at in range(6):
        scheduler.add(ask(str(at), (1,)), 60.0)
    with pytest.raises(ModelBusy, match="6 requests waiting") as found:
        scheduler.add(ask("6", (1,)), 60.0)
    assert found.value.retryable and float(found.value.details["retry_after_s"]) > 0
    for at in range(6, 8):
        scheduler.add(ask(str(at), (1,), tenant="paid"), 60.0)
    with pytest.raises(ModelBusy):
        scheduler.add(ask("8", (1,), tenant="paid"), 60.0)


def test_neither_batch_work_nor_one_tenant_fills_the_line() -> None:
    """A quarter is left for others: who has more than its part, or can wait, is told to come again."""
    scheduler = Scheduler(EngineConfig(max_waiting=8, max_rows=1), pages=8, context_tokens=1000)
    for at in range(6):
        scheduler.add(ask(str(at), (1,), priority=-1), 0.0)
    with pytest.raises(ModelBusy, match="fewer than 6"):
        scheduler.add(ask("batch", (1,), priority=-1, tenant="quiet"), 0.0)
    with pytest.raises(ModelBusy, match="fewer than 6"):
        scheduler.add(ask("online", (1,)), 0.0)
    for at in range(2):
        scheduler.add(ask(f"quiet{at}", (1,), tenant="quiet"), 0.0)


def test_a_request_whose_turn_comes_after_its_deadline_is_refused() -> None:
    """With when to come again, and leaving nothing; not where the line is another tenant's or another one's turn comes
    later, and never for a guess: only turns that came say how fast they come."""
    engine = simulation(max_rows=1)
    for at in range(30):
        engine.scheduler.add(ask(f"a{at}", ids(at, 50), 20), 0.0, left_s=0.001)
    while engine.scheduler.counts.waiting > 10:
        engine.step()
    turn_s = engine.now_s / 20
    waiting = engine.scheduler.counts.waiting
    with pytest.raises(ModelBusy, match="to the deadline") as found:
        engine.scheduler.add(ask("late", ids(99, 50), 20), engine.now_s, left_s=3 * turn_s)
    assert 5 * turn_s < float(found.value.details["retry_after_s"]) < 9 * turn_s
    assert engine.scheduler.counts.waiting == waiting
    engine.scheduler.add(ask("patient", ids(98, 50), 20), engine.now_s, left_s=20 * turn_s)
    engine.scheduler.add(ask("boundless", ids(97, 50), 20), engine.now_s)
    engine.scheduler.add(ask("other", ids(96, 50), 20, tenant="other"), engine.now_s, left_s=3 * turn_s)
    with pytest.raises(ModelBusy):
        engine.scheduler.add(ask("batch", ids(95, 50), 20, tenant="third", priority=-1), engine.now_s, left_s=turn_s)
    run(engine)
    assert engine.scheduler.counts.waiting == 0
    engine.scheduler.add(ask("alone", ids(94, 50), 20), engine.now_s, left_s=0.01)


def test_more_units_than_the_machine_computes_are_refused() -> None:
    """With a calibrated cost model the sum of units is held against it."""
    cost = CostModel()
    for prompt in (64, 128, 256, 512) * 5:
        cost.observe(Load(0, 0, prompt, prompt * prompt / 2), step_s(Load(0, 0, prompt)))
    config = EngineConfig(tenants={"a": TenantPolicy(units=2)}, unit_tokens_per_minute=60_000.0)
    with pytest.raises(ConfigurationError, match="120000"):
        Scheduler(config, pages=8, context_tokens=1000, cost=cost)


def test_a_prompt_alone_is_computed_in_chunks_of_512_and_then_token_by_token() -> None:
    """Where nobody waits for a token a slow machine takes 512 at once; only the last chunk samples."""
    engine = simulation(itl_target_s=0.02)
    engine.scheduler.add(ask("a", ids(1, 1100), 3), 0.0)
    plans = run(engine)
    assert [rows(plan) for plan in plans] == [[("a", 512)], [("a", 512)], [("a", 76)], [("a", 1)], [("a", 1)]]
    assert [plan.rows[0].samples for plan in plans] == [False, False, True, True, True]


def test_chunks_beside_decodes_keep_the_step_within_the_target() -> None:
    """Decodes come first; the rest of the time goes to a prompt, in multiples of 32 tokens; steps end in time."""
    engine = simulation(itl_target_s=0.06)
    for at in range(4):
        engine.scheduler.add(ask(f"d{at}", ids(at, 40), 400), 0.0)
    for _ in range(60):
        engine.step()
    engine.scheduler.add(ask("p", ids(9, 1000), 1), engine.now_s)
    plans = run(engine, "p")
    chunks = [plan.rows[-1].count for plan in plans]
    assert sum(chunks) == 1000
    assert all(chunk % 32 == 0 and chunk > 0 for chunk in chunks[:-1])
    assert all(rows(plan)[:4] == [(f"d{at}", 1) for at in range(4)] for plan in plans)
    assert max(step_s(Load(4, 0, chunk)) for chunk in chunks) <= 0.06
    assert max(chunks) >= 32


def test_a_prompt_moves_however_late_the_step_is() -> None:
    """A target that decodes alone do not meet leaves 32 tokens a step for prompts."""
    engine = simulation(itl_target_s=0.005)
    engine.scheduler.add(ask("d", ids(1, 40), 200), 0.0)
    for _ in range(30):
        engine.step()
    engine.scheduler.add(ask("p", ids(2, 100), 1), engine.now_s)
    assert [rows(plan)[-1] for plan in run(engine, "p")] == [("p", 32), ("p", 32), ("p", 32), ("p", 4)]


def test_where_larger_steps_are_far_too_late_prompts_come_a_few_tokens_at_a_time() -> None:
    """A processor whose steps of more than eight tokens take five times as long: what fits beside the decodes does."""

    def bent_s(load: Load) -> float:
        tokens = load.decodes + load.prompt_tokens
        return (0.01 if tokens <= 8 else 0.08) + 0.002 * tokens

    settings = EngineConfig(itl_target_s=0.032, prefix_cache=False)
    engine = Simulation(Scheduler(settings, pages=256, context_tokens=8192), bent_s)
    for at in range(2):
        engine.scheduler.add(ask(f"d{at}", ids(at, 40), 4000), 0.0)
    engine.scheduler.add(ask("first", ids(7, 1000), 1), 0.0)
    run(engine, "first")
    engine.scheduler.add(ask("p", ids(9, 200), 1), engine.now_s)
    chunks = [plan.rows[-1].count for plan in run(engine, "p")]
    assert sum(chunks) == 200
    assert max(chunks) <= 6 and statistics.median(chunks) >= 4


def test_the_shortest_rest_goes_first_but_not_for_ever() -> None:
    """A short prompt overtakes a long one that has begun; a stream of short ones does not keep it from its turn."""
    engine = simulation(itl_target_s=0.02, prefix_cache=False)
    engine.scheduler.add(ask("long", ids(1, 3000), 1), 0.0)
    engine.step()
    engine.scheduler.add(ask("short", ids(2, 100), 1), engine.now_s)
    plan, _ = engine.step()
    assert rows(plan)[0] == ("short", 100)
    for at in range(60):
        engine.scheduler.add(ask(f"s{at}", ids(at, 500), 1), engine.now_s)
        _, ended = engine.step()
        if any(sequence.request.id == "long" for sequence in ended):
            return
    raise AssertionError("the long prompt starved")


def test_prefill_first_computes_whole_prompts_before_any_token() -> None:
    """The order for comparison: while there is a prompt nobody decodes, and it is not cut."""
    engine = simulation(prefill="first", itl_target_s=0.02)
    engine.scheduler.add(ask("a", ids(1, 100), 5), 0.0)
    engine.step()
    engine.step()
    engine.scheduler.add(ask("b", ids(2, 2000), 5), engine.now_s)
    assert [rows(engine.step()[0]) for _ in range(2)] == [[("b", 2000)], [("a", 1), ("b", 1)]]


def test_a_prompt_seen_before_costs_one_token() -> None:
    """All of it is found: the last page is copied before it is written, and one token is computed."""
    engine = simulation()
    engine.scheduler.add(ask("a", ids(1, 128), 1), 0.0)
    run(engine)
    engine.scheduler.add(ask("b", ids(1, 128), 1), engine.now_s)
    sequence = engine.scheduler.sequence("b")
    plans = run(engine)
    assert rows(plans[0]) == [("b", 1)]
    assert len(plans[0].copies) == 1
    assert (plans[0].rows[0].start, sequence.cached) == (127, 127)
    assert engine.scheduler.counts.cached_tokens == 127


def test_four_replies_to_one_prompt_compute_it_once() -> None:
    """Requests with one prompt that arrive together: one computes it, the others take its pages and copy the last."""
    engine = simulation()
    for at in range(4):
        engine.scheduler.add(ask(f"n{at}", ids(1, 1000), 9), 0.0)
    plans = run(engine)
    assert computed(plans) == 1000 + 3 + 4 * 8
    assert sum(len(plan.copies) for plan in plans) == 3
    assert engine.scheduler.counts.cached_tokens == 3 * 999


def test_agents_with_one_system_prompt_compute_it_once() -> None:
    """Sixteen at once share its pages as they are computed, and of the page where they part what is common."""
    engine = simulation()
    system = ids(1, 1000)
    for at in range(16):
        engine.scheduler.add(ask(f"a{at}", (*system, at, *ids(at, 50)), 9), 0.0)
    assert computed(run(engine)) == 1000 + 16 * (51 + 8)


def test_who_follows_goes_on_alone_when_the_other_leaves() -> None:
    """A request that waits for pages of one that is aborted, or put back, computes them itself."""
    engine = simulation()
    for at in range(3):
        engine.scheduler.add(ask(f"n{at}", ids(1, 2000), 2), 0.0)
    engine.step()
    assert engine.scheduler.counts.running == 1
    engine.scheduler.abort("n0", engine.now_s)
    plans = run(engine)
    assert {name for plan in plans for name, _ in rows(plan)} == {"n1", "n2"}
    assert computed(plans) < 2000 - 512 + 100  # from where it was left


def test_an_id_used_again_while_its_step_is_computed_is_another_request() -> None:
    """What the step yields for the one that was aborted is not booked to the one that has its id now."""
    engine = simulation()
    engine.scheduler.add(ask("a", ids(1, 100), 5), 0.0)
    plan = engine.scheduler.schedule(0.0)
    assert plan is not None
    engine.scheduler.abort("a", 0.0)
    engine.scheduler.add(ask("a", ids(2, 40), 5), 0.0)
    assert engine.scheduler.commit(plan, [Sampled(tokens=(1,))], 0.1, 0.1) == []
    sequence = engine.scheduler.sequence("a")
    assert (sequence.computed, len(sequence.tokens)) == (0, 40)


def test_without_prefix_cache_nothing_is_shared() -> None:
    """Each computes its own."""
    engine = simulation(prefix_cache=False)
    for at in range(3):
        engine.scheduler.add(ask(f"n{at}", ids(1, 200), 1), 0.0)
    assert computed(run(engine)) == 600


def test_tenants_do_not_see_each_others_prompts_unless_both_want_it() -> None:
    """The salt is the tenant; those with shared prompts have one in common."""
    policies = {name: TenantPolicy(shared_prompts=True) for name in ("open1", "open2")}
    engine = simulation(tenants=policies)
    cached = {}
    for name in ("closed1", "closed2", "open1", "open2", "closed1"):
        engine.scheduler.add(ask(name, ids(1, 200), 1, tenant=name), engine.now_s)
        sequence = engine.scheduler.sequence(name)
        run(engine)
        cached[name] = sequence.cached
    assert cached == {"closed1": 192, "closed2": 0, "open1": 0, "open2": 192}


def test_an_online_request_does_not_wait_for_the_pages_of_batch_work() -> None:
    """Batch work may be put back any time, so online work computes what it needs itself."""
    engine = simulation(itl_target_s=0.03, max_rows=8)
    engine.scheduler.add(ask("batch", ids(1, 2000), 1, priority=-1), 0.0)
    engine.step()
    engine.scheduler.add(ask("online", ids(1, 2000), 1), engine.now_s)
    plan, _ = engine.step()
    assert "online" in dict(rows(plan))


def test_batch_work_fills_what_online_leaves() -> None:
    """Batch requests wait behind online ones that came later, and are put back for them when rows are short."""
    engine = simulation(max_rows=2, prefix_cache=False)
    for at in range(3):
        engine.scheduler.add(ask(f"batch{at}", ids(at, 50), 50, priority=-1), 0.0)
    assert {name for name, _ in rows(engine.step()[0])} == {"batch0", "batch1"}
    engine.scheduler.add(ask("online", ids(9, 50), 20), engine.now_s)
    assert dict(rows(engine.step()[0])).keys() > {"online"}
    assert engine.scheduler.counts.preemptions == 1
    run(engine)
    assert engine.scheduler.counts.preemptions == 1


def test_higher_priority_goes_first() -> None:
    """Among those in line."""
    engine = simulation(max_rows=1)
    for at, priority in enumerate((0, 3, 9, 1)):
        engine.scheduler.add(ask(str(at), ids(at, 20), 1, priority=priority), 0.0)
    assert [rows(plan)[0][0] for plan in run(engine)] == ["2", "1", "3", "0"]


@pytest.mark.parametrize(("order", "expected"), (("programs", "fresh"), ("arrival", "again")))
def test_the_run_with_the_least_service_goes_first(order: str, expected: str) -> None:
    """A run that had service before stands behind a new one; by arrival it does not."""
    engine = simulation(max_rows=1, order=order)
    engine.scheduler.add(ask("first", ids(1, 500), 50, run="old"), 0.0)
    run(engine)
    engine.scheduler.add(ask("again", ids(2, 50), 1, run="old"), engine.now_s)
    engine.scheduler.add(ask("fresh", ids(3, 50), 1, run="new"), engine.now_s)
    assert rows(engine.step()[0])[0][0] == expected


def test_an_old_program_is_not_starved_by_a_stream_of_new_ones() -> None:
    """New programs at the machine's capacity, for ever: the old one's call still has its turn within the bound."""
    engine = simulation(max_rows=2, prefix_cache=False)
    engine.scheduler.add(ask("first", ids(1, 200), 100, run="old"), 0.0)
    run(engine)
    engine.scheduler.add(ask("again", ids(2, 50), 5, run="old"), engine.now_s)
    began_s = engine.now_s
    for at in range(5000):
        if engine.scheduler.counts.waiting < 6:
            engine.scheduler.add(ask(f"n{at}", ids(at, 30), 3), engine.now_s)
        _, ended = engine.step()
        if any(sequence.request.id == "again" for sequence in ended):
            assert engine.now_s - began_s > 1.0  # it did stand back
            return
    raise AssertionError("the old program starved")


def test_pages_of_a_call_are_held_for_the_next_one_of_its_run() -> None:
    """Under pressure a run that waits for its tool finds its pages; a stranger's of the same age are gone."""
    engine = simulation(pages=40)
    engine.scheduler.add(ask("run", ids(1, 640), 1, run="r"), 0.0)
    run(engine)
    engine.scheduler.add(ask("other", ids(2, 640), 1), engine.now_s)
    run(engine)
    engine.scheduler.add(ask("more", ids(3, 1500), 1), engine.now_s)
    run(engine)
    cached = {}
    for name, seed in (("run", 1), ("other", 2)):
        engine.scheduler.add(ask(name, (*ids(seed, 640), 1), 1, run="r"), engine.now_s)
        sequence = engine.scheduler.sequence(name)
        run(engine)
        cached[name] = sequence.cached
    assert cached["run"] == 640
    assert cached["other"] < 640


def test_put_back_for_want_of_pages_a_request_goes_on_where_it_was() -> None:
    """Two that do not fit together to their ends: one is put back, computes its output again without sampling it, and
    both come to the length they asked for."""
    engine = simulation(pages=10, prefix_cache=False)
    for at in range(2):
        engine.scheduler.add(ask(str(at), ids(at, 250), 200), 0.0)
    sequences = [engine.scheduler.sequence(str(at)) for at in range(2)]
    run(engine)
    assert engine.scheduler.counts.preemptions > 0
    assert [sequence.output_tokens for sequence in sequences] == [200, 200]


def test_drafts_end_where_the_reply_does() -> None:
    """The proposer is told how many tokens can be taken, which leaves room for the one after them."""
    asked = []

    def propose(sequence: Sequence, most: int) -> tuple[int, ...]:
        asked.append((sequence.output_tokens, most))
        return (5,) * 99

    engine = simulation()
    engine.scheduler.propose = propose
    engine.scheduler.add(ask("a", ids(1, 10), 6), 0.0)
    plans = run(engine)
    assert all(1 <= most == 6 - done - 1 for done, most in asked)
    assert all(len(plan.rows[0].drafts) == plan.rows[0].count - 1 for plan in plans[1:])
    for setting in ("speculate", "batch_invariant"):
        engine = simulation(**{setting: setting != "speculate"})  # type: ignore[arg-type]
        engine.scheduler.propose = propose
        engine.scheduler.add(ask("a", ids(1, 10), 6), 0.0)
        assert not any(plan.rows[0].drafts for plan in run(engine))


def test_a_stream_alone_has_few_drafts() -> None:
    """As many as leave the form of its products what it is without them; in company that changes anyway."""
    asked: set[tuple[int, int]] = set()

    def propose(sequence: Sequence, most: int) -> tuple[int, ...]:
        asked.add((engine.scheduler.counts.running, most))
        return ()

    engine = simulation()
    engine.scheduler.propose = propose
    for at, tokens in enumerate((40, 80)):
        engine.scheduler.add(ask(str(at), ids(at, 10), tokens), 0.0)
    run(engine)
    assert max(most for running, most in asked if running == 2) == 16
    assert max(most for running, most in asked if running == 1) == 7


def test_batch_invariant_cuts_prompts_alike_in_any_company() -> None:
    """Chunks begin and end at multiples of 256, alone, beside decodes, and after a hit."""

    def cuts(engine: Simulation, name: str) -> list[tuple[int, int]]:
        return [
            (row.start, row.count)
            for plan in run(engine, name)
            for row in plan.rows
            if row.sequence.request.id == name and row.start < 700
        ]

    alone = simulation(batch_invariant=True)
    alone.scheduler.add(ask("a", ids(1, 700), 2), 0.0)
    company = simulation(batch_invariant=True, itl_target_s=0.05)
    for at in range(5):
        company.scheduler.add(ask(f"d{at}", ids(9 + at, 30), 300), 0.0)
    company.step()
    company.scheduler.add(ask("a", ids(1, 700), 2), company.now_s)
    expected = [(0, 256), (256, 256), (512, 188)]
    assert cuts(alone, "a") == expected
    assert cuts(company, "a") == expected
    alone.scheduler.add(ask("b", ids(1, 700), 2), alone.now_s)
    assert cuts(alone, "b") == expected[2:]


def test_batch_invariant_computes_output_again_token_by_token() -> None:
    """What was sampled before a request was put back is not computed in a chunk, which would round otherwise."""
    engine = simulation(pages=10, batch_invariant=True)
    for at in range(2):
        engine.scheduler.add(ask(str(at), ids(at, 250), 200), 0.0)
    plans = run(engine)
    assert engine.scheduler.counts.preemptions > 0
    for plan in plans:
        for row in plan.rows:
            assert row.count == 1 or row.start + row.count <= 250


def test_the_books_say_how_long_a_request_waited() -> None:
    """When it got its first row."""
    engine = simulation(max_rows=1)
    engine.scheduler.add(ask("a", ids(1, 10), 5), 0.0)
    engine.scheduler.add(ask("b", ids(2, 10), 5), 0.0)
    engine.step()
    assert engine.scheduler.scheduled_s("a") == 0.0
    assert engine.scheduler.scheduled_s("b") is None
    run(engine, "a")
    ended_s = engine.now_s
    engine.step()
    assert engine.scheduler.scheduled_s("b") == ended_s
    counts = engine.scheduler.counts
    assert (counts.waiting, counts.running, counts.pages_used) == (0, 1, 1)


def test_a_step_of_64_decodes_is_planned_in_well_under_a_millisecond() -> None:
    """The best of 100: what the scheduler itself takes, whatever else the machine does."""
    scheduler = Scheduler(EngineConfig(itl_target_s=10.0), pages=2048, context_tokens=8192)
    for at in range(300):
        scheduler.add(ask(str(at), ids(at, 200), 1000), 0.0)
    took = []
    for at in range(120):
        began = time.thread_time()
        plan = scheduler.schedule(at * 0.03)
        took.append(time.thread_time() - began)
        assert plan is not None
        sampled = [Sampled(tokens=(1,)) for row in plan.rows if row.samples]
        scheduler.commit(plan, sampled, 0.03, at * 0.03)
    assert scheduler.counts.running == 64
    assert min(took[20:]) < 0.0006
