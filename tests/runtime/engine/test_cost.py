"""The online cost model."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.engine.cost import CostModel, Load, load_of
from antiphon.runtime.engine.plan import Row, Sequence
from antiphon.runtime.engine.request import Request


def machine(load: Load, speed: float = 1.0) -> float:
    """A CPU as measured: few rows on 4-bit codes, more on dense weights, with a bend between."""
    tokens = load.decodes + load.prompt_tokens
    fixed, slope = (0.004, 0.0029) if tokens <= 8 else (0.028, 0.00062)
    scores = 2e-4 * load.decodes
    return (fixed + slope * tokens + scores + 2e-6 * load.decode_keys + 3e-7 * load.prompt_pairs) / speed


def loads(rng: random.Random, steps: int) -> list[Load]:
    """Decodes of a changing batch, and prompts that come and go."""
    found = []
    for _ in range(steps):
        rows = rng.choice((1, 2, 4, 8, 12, 16))
        load = Load(rows, sum(rng.randint(50, 1500) for _ in range(rows)))
        if rng.random() < 0.3:
            load = load.with_row(rng.randrange(0, 1024, 32), rng.choice((32, 96, 256, 512)))
        found.append(load)
    return found


def taught(rng: random.Random, steps: int = 200, speed: float = 1.0) -> CostModel:
    """A model that has seen the machine, within 5 % of noise."""
    cost = CostModel()
    for load in loads(rng, steps):
        cost.observe(load, machine(load, speed) * rng.uniform(0.95, 1.05))
    return cost


def worst(cost: CostModel, rng: random.Random, speed: float = 1.0) -> float:
    """The largest relative error on loads that it has not seen."""
    return max(abs(cost.predict(load) / machine(load, speed) - 1) for load in loads(rng, 100))


@pytest.mark.parametrize("speed", (0.02, 1.0, 500.0))
def test_learns_a_machine_of_any_speed(speed: float) -> None:
    """After 200 steps predictions are within 15 %, whatever the prior said."""
    cost = taught(random.Random(1), speed=speed)
    assert worst(cost, random.Random(2), speed) < 0.15
    assert cost.error < 0.1


def test_a_stall_hardly_moves_it_and_a_slower_machine_does() -> None:
    """Steps that take 50 times as long now and then do not raise predictions; twice the time in all steps does."""
    rng = random.Random(3)
    cost = taught(rng)
    before = worst(cost, random.Random(4))
    for load in loads(rng, 60):
        cost.observe(load, machine(load) * (50 if rng.random() < 0.05 else 1))
    assert worst(cost, random.Random(4)) < before + 0.15
    for load in loads(rng, 200):
        cost.observe(load, machine(load, 0.5))
    assert worst(cost, random.Random(4), 0.5) < 0.2


def test_hours_of_decodes_do_not_make_it_forget_prompts() -> None:
    """What recent steps say nothing about stays known: the chunk for a target is the same after 5,000 decodes."""
    cost = taught(random.Random(5), speed=20)
    batch = Load(16, 16 * 700)
    chunk = cost.largest_chunk(batch, 0, 0.02)
    for _ in range(5000):
        cost.observe(batch, machine(batch, 20))
    assert cost.largest_chunk(batch, 0, 0.02) == pytest.approx(chunk, rel=0.2)


@given(seed=st.integers(0, 10**6), start=st.integers(0, 8000), target_s=st.floats(0.001, 5))
def test_the_largest_chunk_ends_in_time_and_a_larger_one_does_not(seed: int, start: int, target_s: float) -> None:
    """The chunk for a target is where the prediction meets it."""
    rng = random.Random(seed)
    cost = taught(rng, 20)
    batch = Load(rng.randint(9, 40), rng.randint(0, 20_000))
    count = cost.largest_chunk(batch, start, target_s)
    assert count >= 0
    if count > 1:
        assert cost.predict(batch.with_row(start, count)) <= target_s * 1.0001
    assert cost.predict(batch.with_row(start, count + 2)) > target_s * 0.9999


@given(st.lists(st.tuples(st.integers(0, 64), st.integers(0, 4096), st.floats(0, 1e4)), max_size=60))
def test_whatever_it_sees_it_predicts_a_positive_time_that_grows(seen: list[tuple[int, int, float]]) -> None:
    """No sequence of measurements makes a coefficient negative or a weight less than 1."""
    cost = CostModel()
    for decodes, prompt, elapsed_s in seen:
        cost.observe(Load(decodes, decodes * 100, prompt, prompt * 50.0), elapsed_s)
    for small, large in ((Load(1, 10), Load(2, 20)), (Load(9, 90), Load(9, 90, 64, 999.0))):
        assert 0 < cost.predict(small) < cost.predict(large)
    assert 0 < cost.recompute_s(100) < cost.recompute_s(1000)
    assert cost.output_weight >= 1


def test_an_output_token_weighs_what_the_machine_says() -> None:
    """A row of a batch of 16 costs several prompt tokens, and prompt tokens have the price of a chunk of 512."""
    cost = taught(random.Random(6))
    chunk = Load(0, 0, 512, 512 * 256.0)
    assert cost.token_s == pytest.approx(machine(chunk) / 512, rel=0.1)
    weight = machine(Load(16, 16 * 512)) / 16 / (machine(chunk) / 512)
    assert cost.output_weight == pytest.approx(weight, rel=0.15)


def test_the_load_of_rows_counts_single_tokens_apart() -> None:
    """Rows of one token are decodes; a chunk of n tokens from s makes n * (s + n / 2) pairs; drafts are a chunk."""
    sequence = Sequence(request=Request(id="r", prompt=(1, 2, 3)), tokens=[1, 2, 3])
    rows = [
        Row(sequence=sequence, start=9, count=1, samples=True),
        Row(sequence=sequence, start=64, count=32, samples=False),
        Row(sequence=sequence, start=99, count=3, drafts=(5, 6), samples=True),
    ]
    assert load_of(rows) == Load(1, 10, 35, 32 * 80 + 3 * 100.5)
    assert load_of(rows) == Load().with_row(9, 1).with_row(64, 32).with_row(99, 3)
