"""Drawing tokens: penalties entry by entry, then a row in several parts, then one program a row that settles it."""

import torch
import triton  # type: ignore[import-untyped]  # ships no types
import triton.language as tl  # type: ignore[import-untyped]

from antiphon.kernels.cases import KernelCase
from antiphon.kernels.draws import Draws, Penalties
from antiphon.kernels.reference.sample import LEAST_TEMPERATURE

_PENALTIES = 256  # entries a program
_MOST_PARTS = 8  # programs a row: 64 rows fill any accelerator
_PART_BLOCK = 1024
_ROW_BLOCK = 4096
_LEAST_TEMPERATURE = tl.constexpr(LEAST_TEMPERATURE)


@triton.jit  # type: ignore[untyped-decorator]
def _penalise_kernel(
    # tensors
    logits_ptr: tl.tensor,  # [rows, vocabulary]
    rows_ptr: tl.tensor,  # [entries], int32
    tokens_ptr: tl.tensor,  # [entries], int32
    factors_ptr: tl.tensor,  # [entries]
    offsets_ptr: tl.tensor,  # [entries]
    # scalars
    entries: int,
    vocabulary: int,
    # constexprs
    BLOCK: tl.constexpr,
) -> None:
    entry = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = entry < entries
    row = tl.load(rows_ptr + entry, mask=inside, other=0).to(tl.int64)
    where = logits_ptr + row * vocabulary + tl.load(tokens_ptr + entry, mask=inside, other=0)
    factor = tl.load(factors_ptr + entry, mask=inside, other=1.0)
    score = tl.load(where, mask=inside, other=0.0).to(tl.float32)
    score = tl.where(score > 0, score / factor, score * factor) - tl.load(offsets_ptr + entry, mask=inside, other=0.0)
    tl.store(where, score.to(logits_ptr.dtype.element_ty), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _mix(value: tl.tensor) -> tl.tensor:
    """32 bits well stirred (lowbias32, C. Wellons)."""
    value = (value ^ (value >> 16)) * 0x7FEB352D
    value = (value ^ (value >> 15)) * 0x846CA68B
    return value ^ (value >> 16)


@triton.jit  # type: ignore[untyped-decorator]
def _keys(seed: tl.tensor, position: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """Two words of the row that its noise is made with."""
    first = _mix(_mix(seed.to(tl.uint32) + 0x9E3779B9) ^ (seed >> 32).to(tl.uint32))
    first = _mix(first + position.to(tl.uint32) * 0x9E3779B9)
    return first, _mix(first ^ 0x9E3779B9) | 1


@triton.jit  # type: ignore[untyped-decorator]
def _gumbel(first: tl.tensor, second: tl.tensor, token: tl.tensor) -> tl.tensor:
    """Standard Gumbel noise of ``token``, from the same integers as the reference's."""
    bits = (_mix(token.to(tl.uint32)) ^ first) * second
    bits = (bits ^ (bits >> 16)) * 0x846CA68B
    uniform = (tl.abs(bits.to(tl.int32, bitcast=True).to(tl.float32)) + 0.5) * ((1 - 2**-23) * 2**-31)
    # -log(1 - u). The winners have a small u, where a device's fast logarithm of nearly 1 has no correct digit.
    series = uniform * (1.0 + uniform * (1 / 2 + uniform * (1 / 3 + uniform * (1 / 4))))
    exponential = tl.where(uniform < 1 / 64, series, -tl.log(1.0 - uniform))
    return -tl.log(exponential)


@triton.jit  # type: ignore[untyped-decorator]
def _scale(temperature: tl.tensor) -> tl.tensor:
    """What scores are multiplied by. Rounded as the reference does, so that both see the same scores."""
    return tl.where(temperature > 0, tl.div_rn(1.0, tl.maximum(temperature, _LEAST_TEMPERATURE)), 1.0)


@triton.jit  # type: ignore[untyped-decorator]
def _scores(
    logits_ptr: tl.tensor,  # the row's
    mask_ptr: tl.tensor,  # the row's
    token: tl.tensor,
    vocabulary: int,
    scale: tl.tensor,
    MASKED: tl.constexpr,
) -> tl.tensor:
    """Logits over temperature; minus infinity for what may not come and behind the vocabulary."""
    inside = token < vocabulary
    score = tl.load(logits_ptr + token, mask=inside, other=float("-inf")).to(tl.float32)
    if MASKED:
        word = tl.load(mask_ptr + token // 32, mask=inside, other=0)
        score = tl.where(((word >> (token % 32)) & 1) != 0, score, float("-inf"))
    return score * scale


@triton.jit  # type: ignore[untyped-decorator]
def _parts_kernel(
    # tensors
    best_ptr: tl.tensor,  # [rows, PARTS], float32: the highest score; NaN if one is
    noisy_ptr: tl.tensor,  # [rows, PARTS], float32: the highest score with noise,
    token_ptr: tl.tensor,  # [rows, PARTS], int32: where it is
    logits_ptr: tl.tensor,  # [rows, vocabulary]
    mask_ptr: tl.tensor,  # [rows, words], int32
    temperature_ptr: tl.tensor,  # [rows]
    seed_ptr: tl.tensor,  # [rows], int64
    position_ptr: tl.tensor,  # [rows], int32
    # scalars
    vocabulary: int,
    words: int,
    # constexprs
    DRAWN: tl.constexpr,
    MASKED: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    logits_ptr += row * vocabulary
    if MASKED:
        mask_ptr += row * words
    scale = 1.0
    if DRAWN:
        temperature = tl.load(temperature_ptr + row)
        scale = _scale(temperature)
        first, second = _keys(tl.load(seed_ptr + row), tl.load(position_ptr + row))
    lane = tl.arange(0, BLOCK)
    best = tl.full((BLOCK,), float("-inf"), tl.float32)
    noisy = tl.full((BLOCK,), float("-inf"), tl.float32)
    token = tl.full((BLOCK,), 0, tl.int32) + lane
    width = tl.cdiv(tl.cdiv(vocabulary, PARTS), BLOCK) * BLOCK
    for start in range(part * width, tl.minimum((part + 1) * width, vocabulary), BLOCK):
        at = start + lane
        score = _scores(logits_ptr, mask_ptr, at, vocabulary, scale, MASKED)
        best = tl.where((score > best) | (score != score), score, best)  # NaN stays: nothing is more
        if DRAWN:  # noqa: SIM102  # decided by the compiler, and what is below when it runs
            if temperature > 0:
                score += _gumbel(first, second, at)
        token = tl.where(score > noisy, at, token)
        noisy = tl.maximum(noisy, score)
    slot = row * PARTS + part
    broken = best != best
    best = tl.max(tl.where(broken, float("-inf"), best), axis=0)
    tl.store(best_ptr + slot, tl.where(tl.max(broken.to(tl.int32), axis=0) != 0, float("nan"), best))
    highest = tl.max(noisy, axis=0)
    tl.store(noisy_ptr + slot, highest)
    tl.store(token_ptr + slot, tl.min(tl.where(noisy == highest, token, 0x7FFFFFFF), axis=0))


@triton.jit  # type: ignore[untyped-decorator]
def _settle_kernel(
    # tensors
    out_ptr: tl.tensor,  # [rows], int64
    best_ptr: tl.tensor,  # [rows, PARTS], as above
    noisy_ptr: tl.tensor,  # [rows, PARTS]
    token_ptr: tl.tensor,  # [rows, PARTS]
    logits_ptr: tl.tensor,  # [rows, vocabulary]
    mask_ptr: tl.tensor,  # [rows, words], int32
    temperature_ptr: tl.tensor,  # [rows]
    top_k_ptr: tl.tensor,  # [rows], int32
    top_p_ptr: tl.tensor,  # [rows]
    min_p_ptr: tl.tensor,  # [rows]
    seed_ptr: tl.tensor,  # [rows], int64
    position_ptr: tl.tensor,  # [rows], int32
    # scalars
    vocabulary: int,
    words: int,
    # constexprs
    DRAWN: tl.constexpr,
    MASKED: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    logits_ptr += row * vocabulary
    if MASKED:
        mask_ptr += row * words
    parts = row * PARTS + tl.arange(0, PARTS)
    highest = tl.load(best_ptr + parts)
    broken = highest != highest
    best = tl.max(tl.where(broken, float("-inf"), highest), axis=0)
    finite = (tl.max(broken.to(tl.int32), axis=0) == 0) & (best > float("-inf")) & (best < float("inf"))
    winners = tl.load(noisy_ptr + parts)
    token = tl.min(tl.where(winners == tl.max(winners, axis=0), tl.load(token_ptr + parts), 0x7FFFFFFF), axis=0)
    if DRAWN:
        temperature = tl.load(temperature_ptr + row)
        top_k = tl.load(top_k_ptr + row)
        top_p = tl.load(top_p_ptr + row)
        min_p = tl.load(min_p_ptr + row)
        # A token drawn from a set that holds all that pass and does not pass itself rules out all of its score or less.
        searching = finite & (temperature > 0) & ((top_k > 0) | (top_p < 1) | (min_p > 0))
        if searching:
            scale = _scale(temperature)
            first, second = _keys(tl.load(seed_ptr + row), tl.load(position_ptr + row))
            floor = tl.where(min_p > 0, best + tl.minimum(tl.log(tl.maximum(min_p, 1e-38)), 0.0), float("-inf"))
            lane = tl.arange(0, BLOCK)
            while searching:
                score = _scores(logits_ptr, mask_ptr, token, vocabulary, scale, MASKED)
                count = tl.full((BLOCK,), 0, tl.int32)
                mass = tl.full((BLOCK,), 0.0, tl.float32)
                total = tl.full((BLOCK,), 0.0, tl.float32)
                noisy = tl.full((BLOCK,), float("-inf"), tl.float32)
                tokens = lane
                for start in range(0, vocabulary, BLOCK):
                    at = start + lane
                    scores = _scores(logits_ptr, mask_ptr, at, vocabulary, scale, MASKED)
                    weights = tl.exp(scores - best)
                    above = scores > score
                    count += above.to(tl.int32)
                    mass += tl.where(above, weights, 0.0)
                    total += weights
                    candidates = above & (scores >= floor)
                    if tl.max(candidates.to(tl.int32), axis=0) != 0:
                        drawn = tl.where(candidates, scores + _gumbel(first, second, at), float("-inf"))
                        tokens = tl.where(drawn > noisy, at, tokens)
                        noisy = tl.maximum(noisy, drawn)
                above_count = tl.sum(count, axis=0)
                passes = (score >= floor) & ((top_k == 0) | (above_count < top_k))
                passes &= (top_p >= 1) | (tl.sum(mass, axis=0) < top_p * tl.sum(total, axis=0))
                searching = (passes == 0) & (above_count > 0)
                if searching:
                    token = tl.min(tl.where(noisy == tl.max(noisy, axis=0), tokens, 0x7FFFFFFF), axis=0)
    tl.store(out_ptr + row, tl.where(finite, token, -1).to(tl.int64))


def sample_launcher(
    out: torch.Tensor,  # [rows], int64
    logits: torch.Tensor,  # [rows, vocabulary], contiguous
    draws: Draws | None,
    mask: torch.Tensor | None,  # [rows, words], int32, contiguous
    penalties: Penalties | None,
) -> None:
    """Fill ``out``; ``logits`` change where penalties say so."""
    rows, vocabulary = logits.shape
    if penalties is not None and penalties.rows.numel():
        entries = penalties.rows.numel()
        _penalise_kernel[(triton.cdiv(entries, _PENALTIES),)](
            logits,
            penalties.rows,
            penalties.tokens,
            penalties.factors,
            penalties.offsets,
            entries,
            vocabulary,
            BLOCK=_PENALTIES,
            num_warps=4,
        )
    parts = min(_MOST_PARTS, triton.next_power_of_2(triton.cdiv(vocabulary, _PART_BLOCK)))
    best, noisy = torch.empty(2, rows, parts, dtype=torch.float32, device=logits.device)
    tokens = torch.empty(rows, parts, dtype=torch.int32, device=logits.device)
    words = 0 if mask is None else mask.shape[1]
    per_row = {
        "logits_ptr": logits,
        "mask_ptr": mask,
        "temperature_ptr": draws and draws.temperature,
        "seed_ptr": draws and draws.seed,
        "position_ptr": draws and draws.position,
        "vocabulary": vocabulary,
        "words": words,
        "DRAWN": draws is not None,
        "MASKED": mask is not None,
        "PARTS": parts,
    }
    _parts_kernel[(rows, parts)](best, noisy, tokens, **per_row, BLOCK=_PART_BLOCK, num_warps=4)
    filters = {name + "_ptr": draws and getattr(draws, name) for name in ("top_k", "top_p", "min_p")}
    _settle_kernel[(rows,)](out, best, noisy, tokens, **per_row, **filters, BLOCK=_ROW_BLOCK, num_warps=16)


_ROW = {
    "best_ptr": "*fp32",
    "noisy_ptr": "*fp32",
    "token_ptr": "*i32",
    "logits_ptr": "*bf16",
    "mask_ptr": "*i32",
    "temperature_ptr": "*fp32",
    "seed_ptr": "*i64",
    "position_ptr": "*i32",
    "vocabulary": "i32:16",
    "words": "i32:16",
}
_ALL = {"DRAWN": True, "MASKED": True, "PARTS": _MOST_PARTS}

CASES = (
    KernelCase(
        name="sample.penalise",
        kernel=_penalise_kernel,
        types={
            "logits_ptr": "*bf16",
            "rows_ptr": "*i32",
            "tokens_ptr": "*i32",
            "factors_ptr": "*fp32",
            "offsets_ptr": "*fp32",
            "entries": "i32",
            "vocabulary": "i32:16",
        },
        constexprs={"BLOCK": _PENALTIES},
    ),
    KernelCase(name="sample.parts", kernel=_parts_kernel, types=_ROW, constexprs={**_ALL, "BLOCK": _PART_BLOCK}),
    KernelCase(
        name="sample.settle",
        kernel=_settle_kernel,
        types={**_ROW, "out_ptr": "*i64", "top_k_ptr": "*i32", "top_p_ptr": "*fp32", "min_p_ptr": "*fp32"},
        constexprs={**_ALL, "BLOCK": _ROW_BLOCK},
        num_warps=16,
    ),
)
