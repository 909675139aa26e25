"""Drawing a token in plain torch: row by row, since a row's numbers fit the processor's cache, and by blocks.

Written for a vocabulary of 49,152 on a CPU, where whatever makes or reads booleans takes ten times as long as
arithmetic on as many numbers, and torch's argmax as long as fourteen maxima.
"""

import math
from functools import lru_cache

import torch

from antiphon.kernels.draws import Draws, Penalties

LEAST_TEMPERATURE = 1e-6  # greedy in effect, and scores divided by it stay finite
_WORD = 0xFFFFFFFF
_STEP = 0x9E3779B9
_FIRST, _SECOND = 0x7FEB352D, 0x846CA68B
_UNIT = (1 - 2**-23) * 2**-31  # a little less than 2**-31, since the largest round up to 2**31
_BLOCK = 256
_TOGETHER = 32  # blocks looked into at once


def sample(
    logits: torch.Tensor,
    draws: Draws | None = None,
    mask: torch.Tensor | None = None,
    penalties: Penalties | None = None,
) -> torch.Tensor:
    """One token id a row, [rows], int64; -1 where the best score is not a finite number.

    ``logits`` is [rows, vocabulary] and is overwritten where ``penalties`` change it; bit ``token % 32`` of word
    ``token // 32`` in ``mask`` [rows, ceil(vocabulary / 32)] says whether a token may come.
    """
    rows, vocabulary = logits.shape
    if penalties is not None:
        _penalise(logits, penalties)
    masked = [False] * rows if mask is None else (mask != -1).any(1).tolist()
    hot = [False] * rows if draws is None else (draws.temperature > 0).tolist()
    plain = [not (masked[row] or hot[row]) for row in range(rows)]
    if all(plain):
        return _best(logits)
    tokens = _best(logits).tolist() if any(plain) else [-1] * rows
    columns = () if draws is None else (draws.top_k, draws.top_p, draws.min_p, draws.seed, draws.position)
    settings = list(zip(*(column.tolist() for column in columns), strict=True))
    for row in range(rows):
        if plain[row]:
            continue
        scores = logits[row].float()
        if mask is not None and masked[row]:
            scores = scores + _bias(mask[row])[:vocabulary]
        if draws is not None and hot[row]:
            scores = scores * draws.temperature[row].clamp(min=LEAST_TEMPERATURE).reciprocal()
            tokens[row] = _draw(scores, *settings[row])
        else:
            tokens[row] = int(_best(scores[None]))
    return torch.tensor(tokens, dtype=torch.int64, device=logits.device)


def _penalise(logits: torch.Tensor, penalties: Penalties) -> None:
    where = penalties.rows.long(), penalties.tokens.long()
    scores, factors = logits[where].float(), penalties.factors
    scores = torch.where(scores > 0, scores / factors, scores * factors) - penalties.offsets
    logits[where] = scores.to(logits.dtype)


def _bias(mask: torch.Tensor) -> torch.Tensor:
    """0 where a bit is set, else minus infinity, [32 * words]."""
    shifts = torch.arange(31, -1, -1, dtype=torch.int32, device=mask.device)
    words = mask[:, None] << shifts  # each bit in turn as the sign
    words.bitwise_right_shift_(31).bitwise_not_().bitwise_and_(-0x800000)  # the bits of minus infinity
    return words.view(torch.float32).flatten()


def _best(scores: torch.Tensor) -> torch.Tensor:
    """The first of the highest of each row, or -1. numpy's argmax takes a twentieth of torch's time on a CPU."""
    on_host = scores.device.type == "cpu"
    places = torch.from_numpy(scores.float().numpy().argmax(1)) if on_host else scores.argmax(1)
    return torch.where(scores.gather(1, places[:, None])[:, 0].isfinite(), places, -1)


def _draw(scores: torch.Tensor, top_k: int, top_p: float, min_p: float, seed: int, position: int) -> int:
    """The best token with Gumbel noise among those that pass every filter, each judged on the whole distribution.

    Without sorting (after FlashInfer, arXiv 2501.01005): a token drawn from a set that holds all that pass and does
    not pass itself shows that everything of its score or less does not either; the rest is drawn from again. Tokens
    with equal scores pass or fail together.
    """
    blocks = _blocks(scores, -math.inf)
    highest = blocks.amax(1)
    best = float(highest.amax())
    if not math.isfinite(best):
        return -1
    sizes = _blocks(_sizes(seed, position, scores.shape[0], scores.device), 2.0**31)
    floor = best + math.log(min_p) if min_p else -math.inf
    allowed = top_p * float((scores - best).exp_().sum()) if top_p < 1 else math.inf
    below = -math.inf
    while True:
        token, score = _winner(blocks, highest, sizes, floor, below)
        if not top_k and top_p >= 1:
            return token
        better = blocks[highest > score].flatten()
        better = better[better > score]
        if not len(better):
            return token
        if (not top_k or len(better) < top_k) and (top_p >= 1 or float((better - best).exp_().sum()) < allowed):
            return token
        below = score


def _winner(
    blocks: torch.Tensor, highest: torch.Tensor, sizes: torch.Tensor, floor: float, below: float
) -> tuple[int, float]:
    """(token, score) of the best with noise among scores of ``floor`` at least and above ``below``.

    No noise is added where a block's highest score with the block's largest noise would not do: nearly everywhere.
    """
    bounds, order = (highest + _gumbel(sizes.amin(1))).sort(descending=True)
    found, token, score = -math.inf, 0, 0.0
    for start, bound in enumerate(bounds[::_TOGETHER].tolist()):
        if bound <= found:
            break
        some = order[start * _TOGETHER : (start + 1) * _TOGETHER]
        scores = blocks[some]
        noisy = scores + _gumbel(sizes[some])
        if max(floor, below) > -math.inf:
            noisy.masked_fill_((scores < floor) | (scores <= below), -math.inf)
        noisy = noisy.flatten()
        at = int(noisy.argmax())
        if float(noisy[at]) > found:
            found, token, score = (
                float(noisy[at]),
                int(some[at // _BLOCK]) * _BLOCK + at % _BLOCK,
                float(scores.flatten()[at]),
            )
    return token, score


def _blocks(values: torch.Tensor, filler: float) -> torch.Tensor:
    """[blocks, 256]."""
    missing = -values.shape[0] % _BLOCK
    return (
        torch.nn.functional.pad(values, (0, missing), value=filler).view(-1, _BLOCK)
        if missing
        else values.view(-1, _BLOCK)
    )


def gumbel(seed: int, position: int, vocabulary: int, device: torch.device) -> torch.Tensor:
    """Standard Gumbel noise of each token, [vocabulary], float32.

    Added to log-probabilities it makes the best of them a draw (Gumbel-max).
    """
    return _gumbel(_sizes(seed, position, vocabulary, device))


def _gumbel(sizes: torch.Tensor) -> torch.Tensor:
    """Of sizes up to 2**31: the smaller, the larger. Via a number in (0, 1) whose small values are exact."""
    return (sizes + 0.5).mul_(-_UNIT).log1p_().neg_().log_().neg_()


def _sizes(seed: int, position: int, vocabulary: int, device: torch.device) -> torch.Tensor:
    """A random number of each token, from 32-bit integers alone: [vocabulary], float32 whole numbers up to 2**31."""
    first = _mix(_mix(_mix((seed & _WORD) + _STEP) ^ (seed >> 32 & _WORD)) + position * _STEP)
    bits = _stirred(vocabulary, device) ^ _signed(first)
    bits.mul_(_signed(_mix(first ^ _STEP) | 1))
    bits.bitwise_xor_((bits >> 16).bitwise_and_(0xFFFF))  # the shift of a signed number drags its sign along
    return bits.mul_(_signed(_SECOND)).float().abs_()


@lru_cache(maxsize=4)
def _stirred(vocabulary: int, device: torch.device) -> torch.Tensor:
    """``_mix`` of each token, as signed words."""
    words = torch.arange(vocabulary, dtype=torch.int64, device=device)
    for shift, factor in ((16, _FIRST), (15, _SECOND)):
        words = (words ^ words >> shift) * factor & _WORD
    words ^= words >> 16
    return (words - (words >> 31 << 32)).to(torch.int32)


def _mix(value: int) -> int:
    """32 bits well stirred (lowbias32, C. Wellons)."""
    value &= _WORD
    value = (value ^ value >> 16) * _FIRST & _WORD
    value = (value ^ value >> 15) * _SECOND & _WORD
    return value ^ value >> 16


def _signed(word: int) -> int:
    return word - (word >> 31 << 32)
