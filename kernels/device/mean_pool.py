"""The mean of a text's tokens at length 1: one program a text."""

import torch
import triton  # type: ignore[import-untyped]  # ships no types
import triton.language as tl  # type: ignore[import-untyped]

from antiphon.kernels.cases import KernelCase

_TOKENS = 16  # rows a turn of the loop


@triton.jit(do_not_specialize=["longest"])  # type: ignore[untyped-decorator]
def _mean_pool_kernel(
    # tensors
    out_ptr: tl.tensor,  # [texts, width], float32
    hidden_ptr: tl.tensor,  # [texts, longest, width]
    lengths_ptr: tl.tensor,  # [texts], int64
    # scalars
    longest: int,
    width: int,
    # constexprs
    TOKENS: tl.constexpr,
    WIDTH: tl.constexpr,
) -> None:
    text = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, WIDTH)
    length = tl.minimum(tl.load(lengths_ptr + text), longest).to(tl.int32)
    total = tl.zeros((WIDTH,), tl.float32)
    for start in range(0, length, TOKENS):
        token = start + tl.arange(0, TOKENS)
        inside = (token < length)[:, None] & (column < width)[None, :]
        place = (text * longest + token)[:, None] * width + column[None, :]
        total += tl.sum(tl.load(hidden_ptr + place, mask=inside, other=0.0).to(tl.float32), axis=0)
    mean = total / tl.maximum(length, 1)
    norm = tl.sqrt(tl.sum(mean * mean, axis=0))
    tl.store(out_ptr + text * width + column, mean / tl.maximum(norm, 1e-12), mask=column < width)


def mean_pool_launcher(
    out: torch.Tensor,  # [texts, width], contiguous, float32
    hidden: torch.Tensor,  # [texts, longest, width], contiguous
    lengths: torch.Tensor,  # [texts], contiguous, int64
) -> None:
    """Fill ``out``."""
    texts, longest, width = hidden.shape
    block = triton.next_power_of_2(width)
    _mean_pool_kernel[(texts,)](
        out, hidden, lengths, longest, width, TOKENS=_TOKENS, WIDTH=block, num_warps=min(16, max(1, block // 64))
    )


CASES = (
    KernelCase(
        name="mean_pool",
        kernel=_mean_pool_kernel,
        types={"out_ptr": "*fp32", "hidden_ptr": "*bf16", "lengths_ptr": "*i64", "longest": "i32", "width": "i32:16"},
        constexprs={"TOKENS": _TOKENS, "WIDTH": 512},
        num_warps=8,
    ),
)
