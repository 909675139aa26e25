"""From a step's scores to tokens."""

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.engine.plan import Sampled, Sequence
from antiphon.runtime.engine.request import Request
from antiphon.runtime.engine.sampler import Sampler, SampleRow, with_seed
from antiphon.runtime.errors import BrokenScores
from antiphon.schemas.inference import Sampling

VOCABULARY = 70
PROMPT = (1, 2, 3, 3)


def running(output: tuple[int, ...] = (), **sampling: Any) -> Sequence:
    """A sequence that has said ``output``."""
    request = Request(id="r", prompt=PROMPT, sampling=Sampling(**sampling))
    return Sequence(request=request, tokens=[*PROMPT, *output])


def row(drafts: tuple[int, ...] = (), output: tuple[int, ...] = (), **sampling: Any) -> SampleRow:
    """A row of that sequence."""
    return SampleRow(sequence=running(output, **sampling), drafts=drafts)


def sample(logits: torch.Tensor, *rows: SampleRow) -> list[Sampled | Exception]:
    """By a sampler of this vocabulary."""
    return Sampler(logits.shape[1], torch.device("cpu")).sample(logits.clone(), rows)


def tokens(logits: torch.Tensor, *rows: SampleRow) -> list[tuple[int, ...]]:
    """Only the tokens, where nothing fails."""
    results = sample(logits, *rows)
    assert all(isinstance(result, Sampled) for result in results), results
    return [result.tokens for result in results if isinstance(result, Sampled)]


def peaks(*best: int) -> torch.Tensor:
    """Scores whose best are these, a position each; the others are near."""
    logits = torch.rand(len(best), VOCABULARY)
    logits[range(len(best)), best] = 2.0
    return logits


@given(data=st.data())
def test_greedy_drafts_are_accepted_as_far_as_they_are_the_best(data: st.DataObject) -> None:
    """The longest beginning of the drafts that greedy decoding would have said, and the token behind it."""
    best = data.draw(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5), min_size=1, max_size=4))
    drafts = [tuple(data.draw(st.integers(0, 2)) for _ in each[1:]) for each in best]
    expected = []
    for each, drafted in zip(best, drafts, strict=True):
        right = len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(each, drafted, strict=False))))
        expected.append(tuple(each[: right + 1]))
    assert tokens(peaks(*itertools.chain(*best)), *(row(drafted) for drafted in drafts)) == expected


@pytest.mark.parametrize("sampling", [{}, {"top_p": 0.8}, {"top_k": 5, "min_p": 0.05, "presence_penalty": 0.5}])
def test_drafts_change_nothing_that_is_sampled(sampling: dict[str, Any]) -> None:
    """Whatever is drafted, the reply is token for token the one without drafts: the same seed, the same positions."""

    def scores(said: tuple[int, ...]) -> torch.Tensor:
        """A model in which the next token depends on the last two."""
        seed = sum(token * 97**index for index, token in enumerate((0, 0, *said)[-2:]))
        return torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 1.5

    def reply(seed: int, drafter: np.random.Generator | None) -> tuple[tuple[int, ...], int]:
        said: tuple[int, ...] = ()
        steps = 0
        while len(said) < 40:
            drafts: tuple[int, ...] = ()
            if drafter is not None:
                # Right ones, mostly: what plain sampling said, spoiled at some places.
                right = plain[len(said) : len(said) + 4]
                drafts = tuple(int(drafter.integers(VOCABULARY)) if drafter.random() < 0.3 else each for each in right)
            logits = torch.stack([scores((*said, *drafts[:count])) for count in range(len(drafts) + 1)])
            said += tokens(logits, row(drafts, said, temperature=1.0, seed=seed, **sampling))[0]
            steps += 1
        return said[:40], steps

    for seed in range(3):
        plain, _ = reply(seed, None)
        drafted, steps = reply(seed, np.random.default_rng(seed))
        assert drafted == plain
        assert steps < 35
        assert len(set(plain)) > 10


def test_accepting_drafts_leaves_the_distribution_as_it_was() -> None:
    """Chi-square of the first token over seeds, with a likely and an unlikely draft; each is accepted as often as it is
    probable."""
    logits = torch.randn(1, 20, generator=torch.Generator().manual_seed(1))
    probabilities = (logits[0] / 1.3).softmax(-1)
    times = 1000
    for draft in (int(probabilities.argmax()), int(probabilities.argmin())):
        rows = [row((draft,), temperature=1.3, seed=seed) for seed in range(times)]
        found = tokens(logits.repeat(2 * times, 1), *rows)
        counts = Counter(each[0] for each in found)
        deviations = sum(
            (counts[token] - times * share) ** 2 / (times * share) for token, share in enumerate(probabilities.tolist())
        )
        assert (deviations - 19) / math.sqrt(2 * 19) < 4
        assert [len(each) for each in found] == [1 + (each[0] == draft) for each in found]


def test_a_seed_repeats_whatever_the_batch() -> None:
    """The token depends on seed and place in the reply, not on the row, the neighbours or the chunk before."""
    logits = torch.randn(1, VOCABULARY)
    alone = [tokens(logits, row(output=(5,) * at, temperature=2.0, seed=9))[0] for at in range(30)]
    rows = [row(output=(5,) * at, temperature=2.0, seed=9) for at in range(30)]
    together = tokens(logits.repeat(31, 1), row(), *rows)[1:]
    assert together == alone
    assert len(set(alone)) > 10
    assert alone != [tokens(logits, row(output=(5,) * at, temperature=2.0, seed=10))[0] for at in range(30)]


def test_who_has_no_seed_is_given_one_that_stays() -> None:
    """Where it matters; a resumed request has the seed it had."""
    request = Request(id="r", prompt=(1,), sampling=Sampling(temperature=1.0))
    assert with_seed(request, lambda: 17).sampling.seed == 17
    chosen = Request(id="r", prompt=(1,), sampling=Sampling(temperature=1.0, seed=3))
    assert with_seed(chosen, lambda: 17) is chosen
    greedy = Request(id="r", prompt=(1,), sampling=Sampling())
    assert with_seed(greedy, lambda: 17) is greedy
    with pytest.raises(ValueError, match="with_seed"):
        sample(torch.zeros(1, VOCABULARY), row(temperature=1.0))


def test_masks_hold_at_their_own_positions() -> None:
    """Each draft's position has its mask, rows without one are free."""
    logits = peaks(4, 40, 41, 69)
    masks = np.zeros((2, 3), dtype=np.int32)
    masks[0, 0] = 1 << 7
    masks[1, 2] = 1 << 5 | 1 << 1
    logits[2, 65] = 1.5
    masked = SampleRow(sequence=running(), drafts=(7,), masks=masks)
    assert tokens(logits, row(), masked, row()) == [(4,), (7, 65), (69,)]


def test_a_broken_row_fails_alone() -> None:
    """NaN, infinity or a mask that allows nothing; what was accepted before it counts."""
    logits = peaks(4, 5, 6, 7)
    logits[1, 3] = math.nan
    found = sample(logits, row(), row(), row((6,)))
    assert isinstance(found[0], Sampled)
    assert isinstance(found[2], Sampled)
    assert isinstance(found[1], BrokenScores)
    assert found[2].tokens == (6, 7)
    logits = peaks(4, 5)
    logits[1, 0] = math.inf
    assert tokens(logits, row((4,))) == [(4,)]
    closed = SampleRow(sequence=running(), masks=np.zeros((1, 3), dtype=np.int32))
    assert isinstance(sample(peaks(4), closed)[0], BrokenScores)


def test_log_probabilities_are_those_of_the_model() -> None:
    """Natural, before temperature, masks and penalties; the likeliest first; only for rows that ask."""
    logits = torch.randn(3, VOCABULARY) * 3
    exact = logits.log_softmax(-1)
    draft = int(logits[0].argmax())
    masks = np.full((1, 3), -1, dtype=np.int32)
    scored = row((draft,), logprobs=3, temperature=0.0, repetition_penalty=1.0001)
    other = SampleRow(sequence=running(logprobs=0, temperature=5.0, seed=1), masks=masks)
    first, second = sample(logits, scored, other)
    assert isinstance(first, Sampled)
    assert isinstance(second, Sampled)
    assert [each.token for each in first.logprobs] == list(first.tokens)
    for position, each in enumerate(first.logprobs):
        assert each.logprob == pytest.approx(float(exact[position, each.token]), abs=1e-5)
        values, ids = exact[position].topk(3)
        assert [token for token, _ in each.top] == ids.tolist()
        assert [value for _, value in each.top] == pytest.approx(values.tolist(), abs=1e-5)
    assert second.logprobs[0].top == ()
    assert second.logprobs[0].logprob == pytest.approx(float(exact[2, second.tokens[0]]), abs=1e-5)
    assert sample(logits, row(), row(), row())[0] == Sampled(tokens=(draft,))


def test_penalties_count_the_reply_and_the_drafts_before() -> None:
    """Presence once, frequency each time, in the reply alone; repetition in the prompt too."""
    logits = torch.zeros(1, VOCABULARY)
    logits[0, 3], logits[0, 8], logits[0, 9] = 2.0, 3.0, 2.5
    assert tokens(logits, row(output=(8,))) == [(8,)]
    assert tokens(logits, row(output=(8,), presence_penalty=0.6)) == [(9,)]
    assert tokens(logits, row(output=(8, 8), frequency_penalty=0.2)) == [(8,)]
    assert tokens(logits, row(output=(8, 8, 8), frequency_penalty=0.2)) == [(9,)]
    assert tokens(logits, row(output=(8, 9), repetition_penalty=1.4)) == [(8,)]  # 3 is in the prompt: 1.43
    assert tokens(logits, row(output=(8, 9), repetition_penalty=1.4, presence_penalty=2.0)) == [(3,)]
    assert tokens(logits, row(output=(9, 8), presence_penalty=-1.0)) == [(8,)]
    # The first draft counts at the second position.
    assert tokens(logits.repeat(2, 1), row((8,), presence_penalty=0.6)) == [(8, 9)]
    assert tokens(logits.repeat(2, 1), row((8,))) == [(8, 8)]


def test_half_precision_scores_are_sampled_too() -> None:
    """As a model in bf16 gives them."""
    logits = torch.randn(2, VOCABULARY).to(torch.bfloat16)
    found = tokens(logits, row(repetition_penalty=1.1, logprobs=1), row(temperature=0.7, seed=1, top_p=0.9))
    assert len(found) == 2
