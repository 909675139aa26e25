"""An engine without a model, in virtual time: the scheduler as it is, over pages that remember what was written.

Every token depends on all that the step reads from the pages, so a page that is written too early, evicted too late or
shared wrongly shows as another reply.
"""

from collections.abc import Callable

from antiphon.runtime.engine.cost import Load, load_of
from antiphon.runtime.engine.engine_config import PAGE_TOKENS
from antiphon.runtime.engine.plan import Row, Sampled, Sequence, StepPlan
from antiphon.runtime.engine.scheduler import Scheduler

_PRIME = (1 << 61) - 1


class VirtualRunner:
    """Runs plans over ``pages`` pages of numbers instead of keys and values; tokens are below ``vocabulary``."""

    def __init__(self, pages: int, vocabulary: int = 97) -> None:
        self.memory = [[-1] * PAGE_TOKENS for _ in range(pages)]
        self._vocabulary = vocabulary

    def run(self, plan: StepPlan) -> list[Sampled]:
        """What each row that samples yields: the drafts that are as it says, and one token more."""
        for source, target in plan.copies:
            self.memory[target] = list(self.memory[source])
        return [new for row in plan.rows if (new := self._row(row)) is not None]

    def _row(self, row: Row) -> Sampled | None:
        pages, whole = row.sequence.pages, row.start // PAGE_TOKENS
        read = sum(sum(self.memory[page]) for page in pages[:whole])
        read += sum(self.memory[pages[whole]][: row.start % PAGE_TOKENS])
        outputs = []
        for position, token in enumerate(row.ids, row.start):
            value = (read * 31 + token * 1_000_003 + position * 7) % _PRIME
            self.memory[pages[position // PAGE_TOKENS]][position % PAGE_TOKENS] = value
            read += value
            outputs.append(read % _PRIME % self._vocabulary)
        if not row.samples:
            return None
        outputs = outputs[-1 - len(row.drafts) :]
        accepted = 0
        while accepted < len(row.drafts) and row.drafts[accepted] == outputs[accepted]:
            accepted += 1
        return Sampled(tokens=tuple(outputs[: accepted + 1]))


class Simulation:
    """Steps in virtual time: ``step_s`` says how long one of a load takes. Replies end at ``max_tokens``."""

    def __init__(self, scheduler: Scheduler, step_s: Callable[[Load], float], vocabulary: int = 97) -> None:
        self.scheduler = scheduler
        self.runner = VirtualRunner(scheduler.pool.total, vocabulary)
        self.now_s = 0.0
        self._step_s = step_s

    def step(self) -> tuple[StepPlan | None, list[Sequence]]:
        """One step: its plan, None where there is nothing to compute, and the sequences that ended with it."""
        plan = self.scheduler.schedule(self.now_s)
        if plan is None:
            return None, []
        sampled = self.runner.run(plan)
        elapsed_s = self._step_s(load_of(plan.rows))
        self.now_s += elapsed_s
        ended = []
        for sequence, _, _ in self.scheduler.commit(plan, sampled, elapsed_s, self.now_s):
            if sequence.output_tokens >= sequence.request.sampling.max_tokens:
                self.scheduler.finish(sequence.request.id, self.now_s)
                ended.append(sequence)
        return plan, ended
