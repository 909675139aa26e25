"""Programs near saturation, in virtual time: whole programs end earlier than when calls go in order of arrival."""

import heapq
import random
from statistics import mean

from antiphon.runtime.engine.cost import Load
from antiphon.runtime.engine.engine_config import EngineConfig
from antiphon.runtime.engine.plan import Sampled, StepPlan
from antiphon.runtime.engine.request import Request
from antiphon.runtime.engine.scheduler import Scheduler
from antiphon.runtime.engine.simulation import Simulation
from antiphon.schemas.inference import Sampling

PROGRAMS = 120
PAGES = 160  # a fraction of what the conversations under way come to, as near saturation on a real machine
CALLS = [1] * 10 + [2] * 4 + [3] * 2 + [5, 8, 12, 12]  # most are short, a few are long


def step_s(load: Load) -> float:
    """SmolLM2 on two cores, with four tokens for each that is simulated."""
    decodes_s = 0.007 + 0.0019 * load.decodes + 1.5e-6 * load.decode_keys if load.decodes else 0.0
    prompt_s = 0.00065 * load.prompt_tokens + 4e-7 * load.prompt_pairs
    return 0.002 + 4 * decodes_s + prompt_s


class AnyTokens:
    """A runner that costs nothing."""

    def run(self, plan: StepPlan) -> list[Sampled]:
        """One token for each row that samples."""
        return [Sampled(tokens=(row.start % 97,)) for row in plan.rows if row.samples]


def times(order: str) -> tuple[list[float], list[float]]:
    """How long each program took, and each of the longest: calls whose prompt is the conversation so far, and waits
    for a tool between them."""
    rng = random.Random(1)
    settings = EngineConfig(order=order, max_rows=8)  # type: ignore[arg-type]
    engine = Simulation(Scheduler(settings, pages=PAGES, context_tokens=8192), step_s)
    engine.runner = AnyTokens()  # type: ignore[assignment]
    events: list[tuple[float, int, int]] = []  # (time, program, call)
    calls, began, prompts = [], [], []
    took: dict[int, float] = {}
    now_s = 0.0
    for program in range(PROGRAMS):
        now_s += rng.expovariate(0.8)
        heapq.heappush(events, (now_s, program, 0))
        began.append(now_s)
        prompts.append(tuple(rng.randrange(97) for _ in range(100)))
        calls.append(
            [
                (tuple(rng.randrange(97) for _ in range(rng.randint(40, 300))), 1 + int(rng.expovariate(1 / 14)))
                for _ in range(rng.choice(CALLS))
            ]
        )
    while len(took) < PROGRAMS:
        while events and events[0][0] <= engine.now_s:
            _, program, call = heapq.heappop(events)
            new, tokens = calls[program][call]
            prompts[program] += new
            request = Request(
                id=f"{program}.{call}",
                run=str(program),
                agent="agent",
                prompt=prompts[program],
                sampling=Sampling(max_tokens=tokens),
            )
            engine.scheduler.add(request, engine.now_s)
        plan, ended = engine.step()
        for sequence in ended:
            program, call = map(int, sequence.request.id.split("."))
            prompts[program] = tuple(sequence.tokens)
            if call + 1 < len(calls[program]):
                heapq.heappush(events, (engine.now_s + rng.expovariate(0.5), program, call + 1))
            else:
                took[program] = engine.now_s - began[program]
        if plan is None:
            engine.now_s = events[0][0]
    return list(took.values()), [took[program] for program in took if len(calls[program]) == 12]


def test_programs_end_earlier_and_the_longest_are_not_starved() -> None:
    """The mean program takes less than half the time that it takes in order of arrival, and the longest gain too."""
    arrival, longest_by_arrival = times("arrival")
    programs, longest = times("programs")
    assert mean(programs) < mean(arrival) / 2
    assert mean(longest) < mean(longest_by_arrival)
    assert max(programs) < max(arrival)
