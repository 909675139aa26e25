"""What holds for tenants whoever they are: units are kept in every minute, and what is spare is shared evenly."""

import random
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.runtime.engine.cost import CostModel, Load
from antiphon.runtime.engine.engine_config import EngineConfig, TenantPolicy
from antiphon.runtime.engine.request import Request
from antiphon.runtime.engine.scheduler import Scheduler
from antiphon.runtime.engine.simulation import Simulation
from antiphon.runtime.engine.tenancy import Tenant
from antiphon.schemas.inference import Sampling

WEIGHT = 4.0  # of a token of a reply
LONGEST_PROMPT, LONGEST_REPLY = 200, 40
HEAVIEST = LONGEST_PROMPT + WEIGHT * LONGEST_REPLY


def step_s(load: Load) -> float:
    """Seconds of a step on a slow machine, so that a minute has few of them."""
    return 0.05 + 0.01 * load.decodes + 0.003 * load.prompt_tokens


def calibrated() -> CostModel:
    """A cost model that knows it."""
    cost, rng = CostModel(), random.Random(7)
    for _ in range(200):
        rows = rng.randint(1, 24)
        load = Load(rows, rows * rng.randint(100, 300), rng.choice((0, 0, 64, 128, 512)), 0.0)
        cost.observe(load, step_s(load))
    return cost


@dataclass
class Crowd:
    """Tenants that always have so many requests under way, each with a priority of its own."""

    scheduler: Scheduler
    rng: random.Random
    priorities: Mapping[str, int]
    waiting: dict[str, int] = field(default_factory=dict)
    simulation: Simulation = field(init=False)

    def __post_init__(self) -> None:
        """Nobody has asked for anything yet."""
        self.simulation = Simulation(self.scheduler, step_s)

    def ask(self, tenant: str) -> None:
        """One more request."""
        number = self.waiting[tenant] = self.waiting.get(tenant, 0) + 1
        prompt = tuple(self.rng.randrange(97) for _ in range(self.rng.randint(20, LONGEST_PROMPT)))
        request = Request(
            id=f"{tenant}.{number}",
            prompt=prompt,
            tenant=tenant,
            priority=self.priorities[tenant],
            sampling=Sampling(max_tokens=self.rng.randint(2, LONGEST_REPLY)),
        )
        self.scheduler.add(request, self.simulation.now_s)

    def step(self) -> dict[str, float]:
        """One step; the weighted tokens that each tenant was served in it. Who was answered asks again."""
        plan, ended = self.simulation.step()
        assert plan is not None
        served: dict[str, float] = {}
        for row in plan.rows:
            asked = row.sequence.request
            fresh = min(row.start + row.count, len(asked.prompt)) - row.start
            served[asked.tenant] = served.get(asked.tenant, 0.0) + max(0, fresh) + WEIGHT * row.samples
        for sequence in ended:
            self.ask(sequence.request.tenant)
        return served


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    units=st.lists(st.sampled_from((0.5, 1.0, 2.0, 5.0)), min_size=1, max_size=4),
    sold=st.floats(0.2, 0.9),
    priorities=st.lists(st.integers(-9, 9), min_size=2, max_size=2),
    seed=st.integers(0, 2**16),
)
def test_units_are_kept_in_every_minute(units: list[float], sold: float, priorities: list[int], seed: int) -> None:
    """Whoever bought them and however many, while strangers of any priority flood: within five percent, and a request
    that a minute's edge cuts."""
    cost = calibrated()
    unit = sold / sum(units) * 60 / cost.token_s
    names = {f"buyer{at}": each for at, each in enumerate(units)}
    config = EngineConfig(
        tenants={name: TenantPolicy(units=each) for name, each in names.items()},
        unit_tokens_per_minute=unit,
        output_weight=WEIGHT,
        itl_target_s=0.5,
        max_waiting=1000,
    )
    strangers = {"urgent": priorities[0], "patient": priorities[1]}
    scheduler = Scheduler(config, pages=1024, context_tokens=4096, cost=cost)
    crowd = Crowd(scheduler, random.Random(seed), dict.fromkeys(names, 0) | strangers)
    for name in (*names, *strangers):
        for _ in range(40):
            crowd.ask(name)
    times, totals = [0.0], {name: [0.0] for name in names}
    while crowd.simulation.now_s < 150:
        served = crowd.step()
        times.append(crowd.simulation.now_s)
        for name, total in totals.items():
            total.append(total[-1] + served.get(name, 0.0))
    first = bisect_left(times, 15.0)  # buckets are empty at first
    for start in range(first, bisect_left(times, times[-1] - 60)):
        end = bisect_left(times, times[start] + 60)
        for name, each in names.items():
            assert totals[name][end] - totals[name][start] >= 0.95 * each * unit - HEAVIEST


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    priorities=st.lists(st.integers(0, 9), min_size=2, max_size=5),
    backlogs=st.lists(st.integers(5, 40), min_size=5, max_size=5),
    joins=st.lists(st.floats(0, 40), min_size=5, max_size=5),
    rows=st.integers(2, 6),
    seed=st.integers(0, 2**16),
)
def test_what_is_spare_is_shared_to_within_the_requests_that_run(
    priorities: list[int], backlogs: list[int], joins: list[float], rows: int, seed: int
) -> None:
    """The counters of tenants that wait never differ by more than what fits into the batch, twice; whenever each came,
    whatever its priority and however much it asks for (the bound of VTC, arXiv 2401.00588, theorem 4.4)."""
    config = EngineConfig(itl_target_s=0.5, max_rows=rows, output_weight=WEIGHT)
    scheduler = Scheduler(config, pages=1024, context_tokens=4096)
    names = {f"t{at}": each for at, each in enumerate(priorities)}
    crowd = Crowd(scheduler, random.Random(seed), names)
    coming = sorted(zip([0.0, *joins], names, backlogs, strict=False))
    here: list[Tenant] = []
    while crowd.simulation.now_s < 80:
        while coming and coming[0][0] <= crowd.simulation.now_s:
            _, name, backlog = coming.pop(0)
            for _ in range(backlog):
                crowd.ask(name)
            here.append(scheduler.tenants.find(name))
        crowd.step()
        counters = [tenant.served for tenant in here]
        assert max(counters) - min(counters) <= 2 * rows * HEAVIEST


@given(
    rate=st.floats(0.1, 1000),
    charges=st.lists(st.tuples(st.floats(0, 100), st.floats(0, 20_000)), max_size=30),
)
def test_a_bucket_gives_no_more_than_was_bought(rate: float, charges: list[tuple[float, float]]) -> None:
    """What is paid from it is at most what flowed in; all else is on the counter; it is never empty below or over."""
    tenant, now_s, charged = Tenant("t", rate), 0.0, 0.0
    tenant.fill(now_s)
    for gap_s, weighted in charges:
        now_s += gap_s
        charged += weighted
        tenant.charge(weighted, now_s)
        paid = charged - tenant.served
        assert -1e-6 <= paid <= rate * now_s * (1 + 1e-9) + 1e-6
        assert 0 <= tenant.level <= rate * 60
