"""From scores to a token."""

from collections import Counter

import pytest
import torch

from antiphon.runtime.engine.sampler import Sampler
from antiphon.schemas.inference import Sampling

LOGITS = torch.tensor([1.0, 3.0, 2.0, -1.0, 0.0])


def drawn(sampling: Sampling, times: int = 400, allowed: bytes | None = None) -> Counter[int]:
    """How often each token came."""
    sampler = Sampler(sampling)
    return Counter(sampler.sample(LOGITS, allowed) for _ in range(times))


def test_temperature_zero_is_greedy() -> None:
    """Always the best, whatever the seed."""
    assert drawn(Sampling(temperature=0.0, seed=1), 20) == {1: 20}


def test_frequencies_follow_the_probabilities() -> None:
    """Within four standard deviations at temperature 2."""
    counts = drawn(Sampling(temperature=2.0, seed=0), 4000)
    for token, probability in enumerate((LOGITS / 2).softmax(-1).tolist()):
        assert abs(counts[token] / 4000 - probability) < 4 * (probability * (1 - probability) / 4000) ** 0.5


def test_top_k_and_top_p_cut_the_tail() -> None:
    """Top-k keeps k tokens; top-p the smallest set that reaches p, at least one."""
    assert set(drawn(Sampling(temperature=5.0, top_k=2, seed=0))) == {1, 2}
    assert set(drawn(Sampling(temperature=1.0, top_p=0.7, seed=0))) == {1, 2}  # probabilities 0.63, 0.23, 0.09, ...
    assert set(drawn(Sampling(temperature=1.0, top_p=0.01, seed=0))) == {1}
    assert set(drawn(Sampling(temperature=9.0, top_k=3, top_p=0.5, seed=0))) == {1, 2}
    assert set(drawn(Sampling(temperature=9.0, top_k=99, seed=0))) == set(range(5))


def test_the_mask_rules_out_tokens() -> None:
    """Greedy and drawn alike choose among what is allowed."""
    allowed = bytes([200, 0, 0, 200, 0])
    assert drawn(Sampling(), 5, allowed) == {0: 5}
    assert set(drawn(Sampling(temperature=9.0, seed=0), allowed=allowed)) == {0, 3}


def test_a_seed_repeats_and_none_does_not() -> None:
    """The same seed draws the same tokens in the same order."""

    def sequence(seed: int | None) -> list[int]:
        sampler = Sampler(Sampling(temperature=3.0, seed=seed))
        return [sampler.sample(LOGITS) for _ in range(50)]

    assert sequence(7) == sequence(7)
    assert sequence(7) != sequence(8)
    assert sequence(None) != sequence(None)


@pytest.mark.parametrize("temperature", [1e-30, 1e-3])
def test_a_tiny_temperature_does_not_overflow(temperature: float) -> None:
    """It is greedy in effect, not a division by nothing."""
    assert drawn(Sampling(temperature=temperature, seed=0), 20) == {1: 20}
