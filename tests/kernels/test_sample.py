"""Drawing tokens: kernel against reference, reference against its definition."""

import math
from dataclasses import fields
from typing import TypeVar

import pytest
import torch

from antiphon.kernels.draws import Draws, Penalties
from antiphon.kernels.ops import sample
from antiphon.kernels.reference.sample import gumbel
from antiphon.kernels.reference.sample import sample as sample_reference

CPU = torch.device("cpu")
T = TypeVar("T", Draws, Penalties)


def draws_of(
    rows: int, *, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0, seed: int = 0
) -> Draws:
    """The same for all rows, each at its own position."""
    return Draws(
        temperature=torch.full((rows,), temperature),
        top_k=torch.full((rows,), top_k, dtype=torch.int32),
        top_p=torch.full((rows,), top_p),
        min_p=torch.full((rows,), min_p),
        seed=torch.full((rows,), seed, dtype=torch.int64),
        position=torch.arange(rows, dtype=torch.int32),
    )


def draws_from(*rows: tuple[float, int, float, float, int, int]) -> Draws:
    """(temperature, top_k, top_p, min_p, seed, position) a row."""
    temperature, top_k, top_p, min_p, seed, position = zip(*rows, strict=True)
    return Draws(
        temperature=torch.tensor(temperature),
        top_k=torch.tensor(top_k, dtype=torch.int32),
        top_p=torch.tensor(top_p),
        min_p=torch.tensor(min_p),
        seed=torch.tensor(seed),
        position=torch.tensor(position, dtype=torch.int32),
    )


# Greedy, plain, each filter alone, all together, and a temperature next to nothing.
MIXED = draws_from(
    (0.0, 0, 1.0, 0.0, 1, 0),
    (1.0, 0, 1.0, 0.0, 2, 1),
    (0.7, 5, 1.0, 0.0, 3, 2),
    (1.5, 0, 0.8, 0.0, 4, 900),
    (1.5, 0, 1.0, 0.2, 2**63 - 1, 70_000),
    (3.0, 40, 0.9, 0.01, 6, 5),
    (1e-30, 0, 0.9, 0.0, 7, 6),
)


def on(device: torch.device, values: T) -> T:
    """The same on ``device``."""
    return type(values)(**{field.name: getattr(values, field.name).to(device) for field in fields(values)})


def penalties_of(*entries: tuple[int, int, float, float]) -> Penalties:
    """(row, token, factor, offset) an entry."""
    rows, tokens, factors, offsets = zip(*entries, strict=True)
    return Penalties(
        rows=torch.tensor(rows, dtype=torch.int32),
        tokens=torch.tensor(tokens, dtype=torch.int32),
        factors=torch.tensor(factors),
        offsets=torch.tensor(offsets),
    )


def random_masks(rows: int, vocabulary: int) -> torch.Tensor:
    """Half of the tokens, the first always; bits behind the vocabulary at random too."""
    words = torch.randint(-(2**31), 2**31, (rows, (vocabulary + 31) // 32), dtype=torch.int64).to(torch.int32)
    words[:, 0] |= 1
    return words


@pytest.mark.parametrize("vocabulary", [1, 263, 2600])
def test_kernel_draws_the_references_tokens(vocabulary: int, device: torch.device, dtype: torch.dtype) -> None:
    """Exactly, with mask and penalties, over vocabularies that fill neither a block, a part nor a mask word."""
    rows = MIXED.seed.numel()
    # NaN behind the last row: nobody may look there.
    storage = torch.full((rows * vocabulary + 5000,), math.nan, device=device, dtype=dtype)
    logits = storage[: rows * vocabulary].view(rows, vocabulary)
    logits.copy_(torch.randn(rows, vocabulary) * 3)
    mask = random_masks(rows, vocabulary)
    penalties = penalties_of((0, vocabulary - 1, 1.0, 4.0), (1, vocabulary // 2, 2.0, 0.0), (5, 0, 0.5, -0.5))
    changed = logits.cpu().clone()
    expected = sample_reference(changed, MIXED, mask, penalties)
    assert torch.equal(sample(logits, on(device, MIXED), mask.to(device), on(device, penalties)).cpu(), expected)
    torch.testing.assert_close(logits.cpu(), changed)


def test_kernel_walks_blocks_and_parts(device: torch.device) -> None:
    """More tokens than one pass of any program takes; few of them likely enough for the filters."""
    few = draws_from((2.0, 3, 1.0, 0.0, 1, 0), (2.0, 0, 0.05, 0.0, 2, 1), (0.0, 0, 1.0, 0.0, 3, 2))
    logits = torch.randn(3, 9001)
    logits[2, [40, 8990]] = 9.0  # the first of equals
    expected = sample_reference(logits.clone(), few)
    assert expected[2] == 40
    assert torch.equal(sample(logits.to(device), on(device, few)).cpu(), expected)


def test_kernel_tells_broken_rows(device: torch.device) -> None:
    """NaN, plus infinity and nothing but minus infinity give -1, greedy or drawn, and leave the other rows alone."""
    logits = broken_rows().to(device)
    expected = [-1, -1, -1, 1]
    assert sample(logits).tolist() == expected
    assert sample(logits, on(device, draws_of(4, top_p=0.5))).tolist() == expected


def broken_rows() -> torch.Tensor:
    """Three that have no best, one that has."""
    logits = torch.zeros(4, 300)
    logits[0, 70], logits[1, 299], logits[2] = math.nan, math.inf, -math.inf
    logits[3] = -math.inf
    logits[3, 1] = 0.0
    return logits


def test_reference_tells_broken_rows() -> None:
    """As the kernel does; a mask that allows nothing is such a row."""
    for draws in (None, draws_of(4), draws_of(4, top_p=0.5)):
        assert sample(broken_rows(), draws).tolist() == [-1, -1, -1, 1]
    assert sample(torch.zeros(1, 40), None, torch.zeros(1, 2, dtype=torch.int32)).tolist() == [-1]
    assert sample(torch.zeros(0, 40)).tolist() == []


@pytest.mark.parametrize("vocabulary", [1, 31, 255, 256, 257, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_greedy_takes_the_first_of_the_best_that_may_come(vocabulary: int, dtype: torch.dtype) -> None:
    """In few steps of value, so that ties abound; with and without a mask."""
    logits = torch.randint(0, 4, (50, vocabulary)).to(dtype)
    mask = random_masks(50, vocabulary)
    assert torch.equal(sample(logits), logits.argmax(1))
    bits = (mask[:, torch.arange(vocabulary) // 32] >> (torch.arange(vocabulary) % 32)) & 1
    expected = logits.float().masked_fill(bits == 0, -math.inf).argmax(1)
    assert torch.equal(sample(logits, None, mask), expected)
    assert torch.equal(sample(logits, draws_of(50, temperature=0.0, top_k=1, seed=5), mask), expected)


def kept_by_sorting(scores: torch.Tensor, top_k: int, top_p: float, min_p: float) -> torch.Tensor:
    """The tokens that pass, by their definition, in float64."""
    probabilities = scores.double().softmax(-1)
    better = scores[None] > scores[:, None]  # [token, other]
    kept = probabilities >= min_p * probabilities.max()
    if top_k:
        kept &= better.sum(1) < top_k
    if top_p < 1:
        kept &= (better * probabilities).sum(1) < top_p
    return kept


@pytest.mark.parametrize(
    ("top_k", "top_p", "min_p"),
    [(1, 1.0, 0.0), (7, 1.0, 0.0), (0, 0.6, 0.0), (0, 1e-6, 0.0), (0, 1.0, 1.0), (9, 0.8, 0.05)],
)
def test_filters_keep_what_their_definition_keeps(top_k: int, top_p: float, min_p: float) -> None:
    """The token is the best with noise among the kept ones, and each of these comes sooner or later."""
    scores = torch.randn(40) * 2
    scores[11] = scores[12]  # equals pass together
    kept = kept_by_sorting(scores, top_k, top_p, min_p)
    drawn = sample(scores.repeat(500, 1), draws_of(500, top_k=top_k, top_p=top_p, min_p=min_p, seed=3))
    for position in range(0, 500, 20):
        noisy = (scores + gumbel(3, position, 40, CPU)).masked_fill(~kept, -math.inf)
        assert drawn[position] == noisy.argmax()
    likely = kept & (scores.masked_fill(~kept, -math.inf).softmax(-1) > 0.03)
    assert set(drawn.tolist()) <= set(kept.nonzero().flatten().tolist())
    assert set(drawn.tolist()) >= set(likely.nonzero().flatten().tolist())


def chi_square(drawn: torch.Tensor, probabilities: torch.Tensor) -> float:
    """Squared deviations over expectations, in standard deviations of that sum: about normal for 20 tokens and more."""
    expected = probabilities * len(drawn)
    kept = expected > 0
    counts = torch.bincount(drawn, minlength=len(probabilities))
    assert not counts[~kept].any()
    degrees = int(kept.sum()) - 1
    return (float(((counts - expected).square() / expected)[kept].sum()) - degrees) / math.sqrt(2 * degrees)


@pytest.mark.parametrize(("seed", "top_p"), [(0, 1.0), (2**62 + 12345, 0.9)])
def test_frequencies_are_the_probabilities(seed: int, top_p: float) -> None:
    """Chi-square over 4,000 draws of 30 tokens at temperature 0.8, whole and cut at top-p 0.9."""
    logits = torch.randn(30, generator=torch.Generator().manual_seed(5)) * 1.5
    scores = logits / 0.8
    kept = kept_by_sorting(scores, 0, top_p, 0.0)
    drawn = sample(logits.repeat(4000, 1), draws_of(4000, temperature=0.8, top_p=top_p, seed=seed))
    assert chi_square(drawn, scores.masked_fill(~kept, -math.inf).softmax(-1)) < 4


def test_noise_is_standard_gumbel_and_its_own_for_each_seed_position_and_token() -> None:
    """Mean 0.5772, variance pi squared over 6, and no two streams alike."""
    noise = gumbel(42, 7, 200_000, CPU)
    assert noise.isfinite().all()
    assert abs(float(noise.mean()) - 0.5772) < 0.012
    assert abs(float(noise.var()) - math.pi**2 / 6) < 0.05
    assert torch.equal(noise[:100], gumbel(42, 7, 100, CPU))
    others = torch.stack([gumbel(seed, at, 20_000, CPU) for seed, at in ((42, 8), (43, 7), (42 + 2**32, 7), (7, 42))])
    correlations = torch.corrcoef(torch.cat((noise[None, :20_000], others)))
    assert float((correlations - torch.eye(5)).abs().max()) < 0.04


def test_a_row_draws_the_same_in_any_company() -> None:
    """Alone, in another place of the batch, and beside greedy rows."""
    logits = torch.randn(7, 500)
    together = sample(logits.clone(), MIXED)
    for row in range(7):
        alone = Draws(**{field.name: getattr(MIXED, field.name)[row : row + 1] for field in fields(Draws)})
        assert sample(logits[row : row + 1], alone).item() == together[row]


@pytest.mark.parametrize("temperature", [1e-30, 1e-4])
def test_a_tiny_temperature_is_greedy(temperature: float) -> None:
    """In effect: it does not overflow."""
    logits = torch.randn(20, 300) * 50
    assert torch.equal(sample(logits, draws_of(20, temperature=temperature)), logits.argmax(1))


def test_penalties_change_scores_in_place() -> None:
    """Positive ones are divided, negative ones multiplied; then the offset goes off."""
    logits = torch.tensor([[4.0, 3.0, -1.0], [1.0, 0.0, 0.5]])
    assert sample(logits, None, None, penalties_of((0, 0, 2.0, 0.5), (0, 2, 2.0, 0.0), (1, 1, 1.0, -2.0))).tolist() == [
        1,
        1,
    ]
    assert logits.tolist() == [[1.5, 3.0, -2.0], [1.0, 2.0, 0.5]]


def test_wrong_arguments_are_refused() -> None:
    """With what was found and what was expected, before anything runs."""
    logits = torch.zeros(2, 40)
    with pytest.raises(ValueError, match=r"logits: found dtype torch\.int32"):
        sample(logits.int())
    with pytest.raises(ValueError, match=r"logits: found shape \(40, 2\) with strides \(1, 40\)"):
        sample(logits.t())
    with pytest.raises(ValueError, match=r"logits: found shape \(2, 0\)"):
        sample(logits[:, :0])
    with pytest.raises(ValueError, match=r"temperature: found shape \(3,\), expected \(2,\)"):
        sample(logits, draws_of(3))
    with pytest.raises(ValueError, match=r"mask: found shape \(2, 1\), expected \(2, 2\)"):
        sample(logits, None, torch.zeros(2, 1, dtype=torch.int32))
    with pytest.raises(ValueError, match=r"mask: found torch\.int64 .* expected a contiguous torch\.int32"):
        sample(logits, None, torch.zeros(2, 2, dtype=torch.int64))
    short = Penalties(**{**vars(penalties_of((0, 0, 1.0, 0.0))), "offsets": torch.zeros(2)})
    with pytest.raises(ValueError, match=r"offsets: found shape \(2,\), expected \(1,\)"):
        sample(logits, None, None, short)
