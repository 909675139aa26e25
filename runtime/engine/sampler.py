"""From a step's scores to tokens: what each request asks for, as tensors, and what came of its drafts."""

from collections import Counter
from collections.abc import Callable
from collections.abc import Sequence as Rows
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from antiphon.kernels.draws import Draws, Penalties
from antiphon.kernels.ops import sample
from antiphon.runtime.engine.plan import Sampled, Sequence
from antiphon.runtime.engine.request import Request, TokenLogprob
from antiphon.runtime.errors import BrokenScores
from antiphon.schemas.inference import Sampling


def with_seed(request: Request, draw: Callable[[], int]) -> Request:
    """``request`` with a seed of its own where it has none and needs one: what it draws then survives preemption."""
    sampling = request.sampling
    if sampling.temperature == 0 or sampling.seed is not None:
        return request
    return replace(request, sampling=sampling.model_copy(update={"seed": draw()}))


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRow:
    """One sequence whose scores end a step: after its last token, then after each of ``drafts``.

    ``masks`` [1 + drafts, ceil(vocabulary / 32)] are the tokens that may come at each of these positions.
    """

    sequence: Sequence
    drafts: tuple[int, ...] = ()
    masks: NDArray[np.int32] | None = None


class Sampler:
    """Chooses tokens for any mix of requests.

    A request's tokens depend on its own scores, seed and reply: not on the batch, and not on drafts. A draft counts as
    accepted when it is the token that would have been chosen anyway: greedy, the best; sampled, what the seed draws at
    that position, which for a draft of probability p happens with probability p and leaves the distribution unchanged.
    """

    def __init__(self, vocabulary: int, device: torch.device) -> None:
        self._words = (vocabulary + 31) // 32
        self._device = device

    def sample(self, logits: torch.Tensor, rows: Rows[SampleRow]) -> list[Sampled | Exception]:
        """What each row yields, or the BrokenScores why it cannot go on.

        ``logits`` [positions, vocabulary], a position for each row and for each draft behind it; overwritten where
        penalties apply.
        """
        firsts: list[int] = []
        count = 0
        hot = masked = penalised = scored = False
        for row in rows:
            firsts.append(count)
            count += 1 + len(row.drafts)
            sampling = row.sequence.request.sampling
            hot |= sampling.temperature > 0
            masked |= row.masks is not None
            penalised |= _penalised(sampling)
            scored |= sampling.logprobs is not None
        logprobs = [_Logprobs(logits, first, row) for first, row in zip(firsts, rows, strict=True)] if scored else None
        tokens = sample(
            logits,
            self._draws(rows) if hot else None,
            self._mask(rows, firsts, count) if masked else None,
            self._penalties(rows, firsts) if penalised else None,
        ).tolist()
        results: list[Sampled | Exception] = []
        for index, (first, row) in enumerate(zip(firsts, rows, strict=True)):
            accepted = _accept(tokens[first : first + 1 + len(row.drafts)], row.drafts)
            if not accepted:
                results.append(BrokenScores("the model's best score is not a finite number: damaged weights or input"))
            else:
                results.append(Sampled(tokens=accepted, logprobs=logprobs[index].of(accepted) if logprobs else ()))
        return results

    def _draws(self, rows: Rows[SampleRow]) -> Draws:
        floats: list[tuple[float, float, float]] = []
        integers: list[tuple[int, int, int]] = []
        for row in rows:
            sampling = row.sequence.request.sampling
            if sampling.temperature > 0 and sampling.seed is None:
                raise ValueError("found a request to sample without a seed, expected one that went through with_seed")
            for position in range(row.sequence.output_tokens, row.sequence.output_tokens + 1 + len(row.drafts)):
                floats.append((sampling.temperature, sampling.top_p, sampling.min_p))
                # Every top-k at or above the vocabulary means the same.
                integers.append((min(sampling.top_k, self._words * 32), sampling.seed or 0, position))
        temperature, top_p, min_p = torch.tensor(floats, dtype=torch.float32).t().contiguous().to(self._device)
        top_k, seed, position_ = torch.tensor(integers, dtype=torch.int64).t().contiguous().to(self._device)
        return Draws(
            temperature=temperature,
            top_k=top_k.to(torch.int32),
            top_p=top_p,
            min_p=min_p,
            seed=seed,
            position=position_.to(torch.int32),
        )

    def _mask(self, rows: Rows[SampleRow], firsts: list[int], count: int) -> torch.Tensor:
        masks = np.full((count, self._words), -1, dtype=np.int32)
        for first, row in zip(firsts, rows, strict=True):
            if row.masks is not None:
                masks[first : first + len(row.masks)] = row.masks
        return torch.from_numpy(masks).to(self._device)

    def _penalties(self, rows: Rows[SampleRow], firsts: list[int]) -> Penalties:
        where: list[NDArray[np.int32]] = []  # positions, tokens
        by: list[NDArray[np.float32]] = []  # factors, offsets
        for first, row in zip(firsts, rows, strict=True):
            sampling = row.sequence.request.sampling
            if not _penalised(sampling):
                continue
            prompt = row.sequence.request.prompt
            counts = Counter(row.sequence.tokens[len(prompt) :])
            if sampling.repetition_penalty != 1:
                counts.update(dict.fromkeys(prompt, 0))
            for position in range(1 + len(row.drafts)):
                counts.update(row.drafts[position - 1 : position])
                tokens = np.fromiter(counts, np.int32, len(counts))
                times = np.fromiter(counts.values(), np.float32, len(counts))
                where.append(np.stack((np.full_like(tokens, first + position), tokens)))
                offsets = sampling.presence_penalty * (times > 0) + sampling.frequency_penalty * times
                by.append(np.stack((np.full_like(times, sampling.repetition_penalty), offsets.astype(np.float32))))
        positions, ids = torch.from_numpy(np.concatenate(where, axis=1)).to(self._device)
        factors, subtracted = torch.from_numpy(np.concatenate(by, axis=1)).to(self._device)
        return Penalties(rows=positions, tokens=ids, factors=factors, offsets=subtracted)


def _penalised(sampling: Sampling) -> bool:
    return bool(sampling.presence_penalty or sampling.frequency_penalty or sampling.repetition_penalty != 1)


def _accept(chosen: list[int], drafts: tuple[int, ...]) -> tuple[int, ...]:
    """The drafts that were chosen, and the first token that is not a draft; none from a broken score on."""
    accepted = 0
    while accepted < len(drafts) and chosen[accepted] == drafts[accepted]:
        accepted += 1
    tokens = chosen[: accepted + 1]
    return tuple(tokens[:-1] if tokens[-1] < 0 else tokens)


class _Logprobs:
    """Log-probabilities of one row's positions, taken before penalties change the scores."""

    def __init__(self, logits: torch.Tensor, first: int, row: SampleRow) -> None:
        wanted = row.sequence.request.sampling.logprobs
        self._all = self._top = None
        if wanted is not None:
            self._all = logits[first : first + 1 + len(row.drafts)].float().log_softmax(-1)
            self._top = self._all.topk(min(wanted, logits.shape[1]))

    def of(self, tokens: tuple[int, ...]) -> tuple[TokenLogprob, ...]:
        """Those of ``tokens``, if they were asked for."""
        if self._all is None or self._top is None:
            return ()
        chosen = self._all[range(len(tokens)), tokens].tolist()
        tops = zip(self._top.indices.tolist(), self._top.values.tolist(), strict=True)
        return tuple(
            TokenLogprob(token=token, logprob=logprob, top=tuple(zip(ids, values, strict=True)))
            for token, logprob, (ids, values) in zip(tokens, chosen, tops, strict=False)
        )
