"""Drafts: where they come from and when they are made."""

import random
import time
import tracemalloc

from antiphon.runtime.engine.cost import Load
from antiphon.runtime.engine.plan import Sequence
from antiphon.runtime.engine.request import Request
from antiphon.runtime.engine.speculation import SpeculationCounts, Speculator
from antiphon.schemas.inference import Sampling

CONTEXT = 8192


def free(load: Load) -> float:
    """A machine on which more tokens cost next to nothing."""
    return 10.0 + 0.01 * (load.decodes + load.prompt_tokens)


def busy(load: Load) -> float:
    """A machine that is full: each token costs its share."""
    return 1.0 * (load.decodes + load.prompt_tokens)


def running(
    output: list[int],
    *,
    prompt: tuple[int, ...] = (500, 501),
    name: str = "r",
    agent: str | None = "a",
    tenant: str = "t",
) -> Sequence:
    """A sequence that has said ``output``."""
    request = Request(id=name, prompt=prompt, agent=agent, tenant=tenant, sampling=Sampling(max_tokens=400))
    return Sequence(request=request, tokens=[*prompt, *output])


def propose(speculator: Speculator, sequence: Sequence, most: int = 4, rows: int = 1) -> tuple[int, ...]:
    """In a step of ``rows`` decodes."""
    return speculator.propose(sequence, most, rows=rows, kv_tokens=rows * len(sequence.tokens))


def test_a_request_repeats_its_prompt() -> None:
    """What followed these three tokens before, in the prompt or the reply; nothing for what is new."""
    speculator = Speculator(free, CONTEXT)
    sequence = running([11, 12, 13], prompt=(1, 11, 12, 13, 14, 15, 16, 17, 18))
    assert propose(speculator, sequence) == (14, 15, 16, 17)
    assert propose(speculator, sequence, most=2) == (14, 15)
    sequence.tokens += [14, 99]
    assert propose(speculator, sequence) == ()


def test_an_agent_repeats_its_replies_to_others() -> None:
    """From the time they are finished; to the end of the reply and not into the next."""
    speculator = Speculator(free, CONTEXT)
    said = running([21, 22, 23, 24, 25], name="first")
    later = running([21, 22, 23], prompt=(600,), name="second")
    assert propose(speculator, later) == ()
    speculator.finished(said)
    speculator.finished(running([77, 78], name="third"))
    assert propose(speculator, later) == (24, 25)


def test_nobody_hears_of_other_tenants_or_agents() -> None:
    """The same agent name in another tenant is another agent; requests without an agent share nothing."""
    speculator = Speculator(free, CONTEXT)
    speculator.finished(running([21, 22, 23, 24], name="first"))
    speculator.finished(running([31, 32, 33, 34], name="nobody", agent=None))
    assert propose(speculator, running([21, 22, 23], name="b", agent="other")) == ()
    assert propose(speculator, running([21, 22, 23], name="c", tenant="other")) == ()
    assert propose(speculator, running([31, 32, 33], name="d", agent=None)) == ()
    assert propose(speculator, running([21, 22, 23], name="e")) == (24,)


def test_forced_tokens_come_first() -> None:
    """Then what followed them before."""
    speculator = Speculator(free, CONTEXT)
    speculator.finished(running([1, 2, 21, 22, 23, 24], name="first"))
    sequence = running([5, 6, 1, 2], name="second")
    drafts = speculator.propose(sequence, 4, rows=1, kv_tokens=4, forced=(21, 22))
    assert drafts == (21, 22, 23, 24)
    assert speculator.propose(sequence, 1, rows=1, kv_tokens=4, forced=(21, 22)) == (21,)


def test_where_each_token_costs_its_share_nothing_is_drafted() -> None:
    """However right the drafts are; it is counted."""
    speculator = Speculator(busy, CONTEXT)
    sequence = running([11, 12, 13], prompt=(1, 11, 12, 13, 14, 15))
    assert propose(speculator, sequence, rows=8) == ()
    assert speculator.counts == SpeculationCounts(declined=1)


def test_the_number_of_drafts_follows_their_success() -> None:
    """A machine with some room: all while they are right, none once they were wrong for a while."""

    def roomy(load: Load) -> float:
        return 10.0 + 3.0 * (load.decodes + load.prompt_tokens)

    speculator = Speculator(roomy, CONTEXT)
    sequence = running([11, 12, 13], prompt=(1, 11, 12, 13, 14, 15, 16, 17, 18))
    for _ in range(60):
        speculator.observe(sequence, 4, 4)
    assert len(propose(speculator, sequence)) == 4
    for _ in range(60):
        speculator.observe(sequence, 4, 0)
    assert propose(speculator, sequence) == ()
    assert speculator.counts == SpeculationCounts(drafted=480, accepted=240, declined=1)


def test_drafts_come_back_when_an_agent_begins_to_repeat_itself() -> None:
    """What is declined is compared with what came, so that no token is computed in vain to find out."""

    def roomy(load: Load) -> float:
        return 10.0 + 3.0 * (load.decodes + load.prompt_tokens)

    speculator = Speculator(roomy, CONTEXT)
    line = list(range(40, 60))
    sequence = running(line + line)
    assert propose(speculator, sequence)
    for _ in range(60):
        speculator.observe(sequence, 4, 0)
    steps = 0
    while not propose(speculator, sequence):
        sequence.tokens.append(line[steps % 20])
        steps += 1
    assert 5 < steps < 20
    assert speculator.counts == SpeculationCounts(drafted=240, declined=steps)


def drive(speculator: Speculator, truth: list[int], name: str) -> tuple[int, list[float]]:
    """Steps that a reply takes, and the seconds of each proposal."""
    sequence = running([], name=name)
    steps, seconds = 0, []
    while sequence.output_tokens < len(truth):
        began = time.thread_time()
        drafts = propose(speculator, sequence, most=8)
        seconds.append(time.thread_time() - began)
        rest = truth[sequence.output_tokens :]
        accepted = 0
        while accepted < min(len(drafts), len(rest) - 1) and drafts[accepted] == rest[accepted]:
            accepted += 1
        if drafts:
            speculator.observe(sequence, len(drafts), accepted)
        sequence.tokens += rest[: accepted + 1]
        steps += 1
    speculator.finished(sequence)
    return steps, seconds


def test_a_repetitive_agent_needs_a_fraction_of_the_steps() -> None:
    """Replies made of the same phrases; and a proposal costs microseconds."""
    rng = random.Random(0)
    phrases = [[rng.randrange(40_000) for _ in range(15)] for _ in range(10)]
    speculator = Speculator(free, CONTEXT)
    steps, seconds = [], []
    for number in range(20):
        truth = [token for _ in range(20) for token in rng.choice(phrases)]
        taken, each = drive(speculator, truth, str(number))
        steps.append(taken)
        seconds += each
    assert steps[-1] < 300 / 2.5
    seconds.sort()
    assert seconds[len(seconds) // 2] < 100e-6  # 5 to 10 where nobody else computes


def test_memory_is_bounded() -> None:
    """Forty agents, of which the last 32 are remembered; more tokens of one than are kept; an absurd max_tokens."""
    speculator = Speculator(free, CONTEXT)
    boundless = Request(id="b", prompt=(1, 2, 3, 4, 1, 2, 3), sampling=Sampling(max_tokens=10**12))
    assert propose(speculator, Sequence(request=boundless, tokens=list(boundless.prompt)), most=1) == (4,)
    for number in range(40):
        speculator.finished(running([number, 1, 2, 3], name=str(number), agent=f"a{number}"))
    assert propose(speculator, running([7, 1, 2], agent="a7")) == ()
    assert propose(speculator, running([39, 1, 2], agent="a39", name="s")) == (3,)
    for number in range(3):
        start = number * 30_000
        speculator.finished(running(list(range(start, start + 30_000)), agent="long", name=f"l{number}"))
    assert propose(speculator, running([70, 71, 72], agent="long", name="x")) == ()
    assert propose(speculator, running([80_070, 80_071, 80_072], agent="long", name="y"), most=1) == (80_073,)


def test_an_absurd_max_tokens_takes_no_more_than_the_context() -> None:
    """28 bytes for each token that a request can have."""
    speculator = Speculator(free, 1024)
    boundless = Request(id="b", prompt=(1, 2, 3, 4, 1, 2, 3), sampling=Sampling(max_tokens=100_000))
    tracemalloc.start()
    assert propose(speculator, Sequence(request=boundless, tokens=list(boundless.prompt)), most=1) == (4,)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2 * 28 * 1024
