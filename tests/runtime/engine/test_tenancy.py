"""Tenants: what they have bought and how the rest is shared."""

import random
from collections import Counter, defaultdict

import pytest

from antiphon.runtime.engine.cost import CostModel, Load
from antiphon.runtime.engine.engine_config import EngineConfig, TenantPolicy
from antiphon.runtime.engine.request import Request
from antiphon.runtime.engine.scheduler import Scheduler
from antiphon.runtime.engine.simulation import Simulation
from antiphon.runtime.engine.tenancy import Tenants
from antiphon.runtime.errors import ConfigurationError
from antiphon.schemas.inference import Sampling


def tenants(**units: float) -> Tenants:
    """Tenants with so many units of 600 weighted tokens a minute."""
    return Tenants({name: TenantPolicy(units=each) for name, each in units.items()}, 600.0)


def test_a_bucket_is_a_minute_deep_and_fills_at_the_rate_bought() -> None:
    """Two units of 600 a minute: 1,200 at most, 20 a second; what exceeds it counts as spare."""
    bought = tenants(two=2).find("two")
    assert bought.fill(5.0) == 0
    assert bought.fill(8.0) == 60
    bought.charge(100, 8.0)
    assert (bought.level, bought.served) == (0.0, 40.0)
    assert bought.fill(900.0) == 1200


def test_a_bucket_that_is_nearly_empty_guarantees_nothing() -> None:
    """From 2 % of a minute upwards the tenant goes first."""
    bought = tenants(one=1).find("one")
    assert not bought.guaranteed(0.0)
    assert not bought.guaranteed(1.0)
    assert bought.guaranteed(1.5)


def test_the_turn_is_the_fullest_buckets_then_the_least_served() -> None:
    """Guaranteed tenants by seconds owed, before all others by their counters."""
    all_of_them = tenants(a=3, b=1)
    a, b, c, d = (all_of_them.find(name) for name in "abcd")
    for tenant in (a, b, c, d):
        tenant.fill(0.0)
        all_of_them.enter(tenant)
    a.charge(900, 60.0)
    c.charge(50, 60.0)
    assert sorted((a, b, c, d), key=lambda tenant: tenant.turn(60.0)) == [b, a, d, c]


def test_idling_earns_nothing() -> None:
    """A tenant that becomes active is lifted to the least of the active; what it had above that it keeps."""
    spare = tenants()
    busy, other, late = (spare.find(name) for name in ("busy", "other", "late"))
    for tenant in (busy, other):
        spare.enter(tenant)
    busy.charge(500, 0.0)
    other.charge(300, 0.0)
    spare.enter(late)
    assert late.served == 300
    spare.leave(busy)
    spare.enter(busy)
    assert busy.served == 500


def test_no_more_is_sold_than_there_is() -> None:
    """Units beyond the machine's capacity are refused, with both numbers."""
    tenants(a=3, b=1).check_sold(2400)
    with pytest.raises(ConfigurationError, match=r"2400.*2000"):
        tenants(a=3, b=1).check_sold(2000)


def test_strangers_are_forgotten() -> None:
    """Names that bought nothing do not pile up; whoever has requests stays."""
    spare = tenants(sold=1)
    kept = spare.find("kept")
    spare.enter(kept)
    for at in range(10_000):
        spare.find(f"stranger{at}")
    assert spare.find("kept") is kept
    assert spare.find("sold").rate == 10


def machine(load: Load) -> float:
    """Seconds of a step on a slow machine, so that a minute has few of them."""
    return 0.05 + 0.01 * load.decodes + 0.003 * load.prompt_tokens


def calibrated() -> CostModel:
    """A cost model that knows it."""
    cost = CostModel()
    rng = random.Random(7)
    for _ in range(200):
        rows = rng.randint(1, 24)
        load = Load(rows, rows * rng.randint(100, 300), rng.choice((0, 0, 64, 128, 512)), 0.0)
        cost.observe(load, machine(load))
    return cost


def test_units_are_kept_to_within_five_percent_while_a_stranger_floods() -> None:
    """Three units, one unit, and a stranger who offers ten times the machine, for four minutes: both get what they
    bought and a third of what is spare, which is little."""
    cost = calibrated()
    unit = 0.248 * 60 / cost.token_s  # four are all that may be sold
    policies = {"three": TenantPolicy(units=3), "one": TenantPolicy(units=1)}
    scheduler = Scheduler(
        EngineConfig(tenants=policies, unit_tokens_per_minute=unit, itl_target_s=0.5, max_waiting=10_000),
        pages=4096,
        context_tokens=4096,
        cost=cost,
    )
    simulation = Simulation(scheduler, machine)
    rng = random.Random(8)
    waiting: Counter[str] = Counter()
    weight = cost.output_weight
    served: list[dict[str, float]] = [defaultdict(float) for _ in range(4)]
    number = 0
    while simulation.now_s < 240:
        for tenant, backlog in (("three", 60), ("one", 60), ("stranger", 200)):
            while waiting[tenant] < backlog:
                prompt = tuple(rng.randrange(97) for _ in range(rng.randint(40, 200)))
                request = Request(
                    id=str(number), prompt=prompt, tenant=tenant, sampling=Sampling(max_tokens=rng.randint(5, 60))
                )
                scheduler.add(request, simulation.now_s)
                waiting[tenant] += 1
                number += 1
        plan, ended = simulation.step()
        assert plan is not None
        minute = served[min(3, int(simulation.now_s / 60))]
        for row in plan.rows:
            tenant = row.sequence.request.tenant
            fresh = min(row.start + row.count, len(row.sequence.request.prompt)) - row.start
            minute[tenant] += max(0, fresh) + (weight if row.samples else 0)
        for sequence in ended:
            waiting[sequence.request.tenant] -= 1
    for minute in served:
        got = {tenant: weighted / unit for tenant, weighted in minute.items()}
        assert got["three"] >= 3 * 0.95
        assert got["one"] >= 1 * 0.95
        spare = sum(got.values()) - 4
        assert got["three"] == pytest.approx(3 + spare / 3, rel=0.05)
        assert got["one"] == pytest.approx(1 + spare / 3, abs=0.1)


def test_a_priority_that_a_tenant_gives_itself_takes_nothing_from_another() -> None:
    """Two tenants without units, one of which calls all its work urgent: both get half, and its own urgent work goes
    before the rest of its own."""
    scheduler = Scheduler(EngineConfig(itl_target_s=0.5, max_rows=4), pages=64, context_tokens=4096)
    simulation = Simulation(scheduler, machine)
    ended: Counter[str] = Counter()
    rng = random.Random(9)

    def ask(tenant: str, priority: int) -> None:
        prompt = tuple(rng.randrange(97) for _ in range(60))
        request = Request(
            id=f"{tenant}.{priority}.{rng.random()}",
            prompt=prompt,
            tenant=tenant,
            priority=priority,
            sampling=Sampling(max_tokens=10),
        )
        scheduler.add(request, simulation.now_s)

    for _ in range(10):
        for tenant, priority in (("loud", 9), ("loud", 8), ("quiet", 0)):
            ask(tenant, priority)
    while simulation.now_s < 60:
        for sequence in simulation.step()[1]:
            asked = sequence.request
            ended[f"{asked.tenant}.{asked.priority}"] += 1
            ask(asked.tenant, asked.priority)
    assert ended["quiet.0"] > 20
    assert ended["quiet.0"] == pytest.approx(ended["loud.9"] + ended["loud.8"], abs=4)
    assert ended["loud.8"] < ended["loud.9"]


def test_short_of_pages_the_tenant_that_had_most_gives_way_whatever_its_priority() -> None:
    """A priority keeps no pages that fairness gives to another."""
    scheduler = Scheduler(EngineConfig(itl_target_s=5.0, prefix_cache=False), pages=4, context_tokens=4096)
    simulation = Simulation(scheduler, machine)
    for tenant, priority, prompt in (("loud", 9, 120), ("quiet", 0, 60)):
        request = Request(
            id=tenant, prompt=(1,) * prompt, tenant=tenant, priority=priority, sampling=Sampling(max_tokens=100)
        )
        scheduler.add(request, 0.0)
    while scheduler.counts.preemptions == 0:
        simulation.step()
    assert scheduler.sequence("quiet").pages and not scheduler.sequence("loud").pages


def test_tenants_are_charged_in_what_units_are_measured_in() -> None:
    """A token of a reply counts what calibration found, however the engine's own estimate moves."""
    config = EngineConfig(output_weight=4.0, tenants={"a": TenantPolicy(units=1)}, unit_tokens_per_minute=600.0)
    scheduler = Scheduler(config, pages=64, context_tokens=4096)
    simulation = Simulation(scheduler, machine)
    scheduler.add(Request(id="a", prompt=(1,) * 50, tenant="a", sampling=Sampling(max_tokens=10)), 0.0)
    while simulation.step()[0] is not None:
        pass
    bought = scheduler.tenants.find("a")
    earned = bought.rate * simulation.now_s
    assert bought.served - bought.level + earned == pytest.approx(50 + 10 * 4)
    assert scheduler.cost.output_weight != pytest.approx(4.0, abs=0.3)
