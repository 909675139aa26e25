"""Rotary position embedding: one program a token, all of its heads at once."""

import torch
import triton  # type: ignore[import-untyped]  # ships no types
import triton.language as tl  # type: ignore[import-untyped]

from antiphon.kernels.cases import KernelCase


@triton.jit  # type: ignore[untyped-decorator]
def _rotary_kernel(
    # tensors
    out_ptr: tl.tensor,  # [tokens, heads, 2 * half], contiguous
    x_ptr: tl.tensor,  # [tokens, heads, 2 * half], any stride between tokens and heads
    cos_ptr: tl.tensor,  # [tokens, half]
    sin_ptr: tl.tensor,  # [tokens, half]
    # scalars
    heads: int,
    half: int,
    x_token_stride: int,
    x_head_stride: int,
    # constexprs
    HEADS: tl.constexpr,
    HALF: tl.constexpr,
) -> None:
    token = tl.program_id(0).to(tl.int64)
    head = tl.arange(0, HEADS)[:, None]
    lane = tl.arange(0, HALF)[None, :]
    inside = (head < heads) & (lane < half)
    cos = tl.load(cos_ptr + token * half + lane, mask=lane < half, other=0.0)
    sin = tl.load(sin_ptr + token * half + lane, mask=lane < half, other=0.0)
    source = x_ptr + token * x_token_stride + head * x_head_stride + lane
    first = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(source + half, mask=inside, other=0.0).to(tl.float32)
    target = out_ptr + (token * heads + head) * 2 * half + lane
    tl.store(target, (first * cos - second * sin).to(out_ptr.dtype.element_ty), mask=inside)
    tl.store(target + half, (second * cos + first * sin).to(out_ptr.dtype.element_ty), mask=inside)


def rotary_launcher(
    out: torch.Tensor,  # [tokens, heads, 2 * half], contiguous
    x: torch.Tensor,  # [tokens, heads, 2 * half], last dimension contiguous
    cos: torch.Tensor,  # [tokens, half], contiguous, float32
    sin: torch.Tensor,  # [tokens, half], contiguous, float32
) -> None:
    """Fill ``out``."""
    tokens, heads, width = x.shape
    half = width // 2
    _rotary_kernel[(tokens,)](
        out,
        x,
        cos,
        sin,
        heads,
        half,
        x.stride(0),
        x.stride(1),
        HEADS=triton.next_power_of_2(heads),
        HALF=triton.next_power_of_2(half),
        num_warps=4,
    )


CASES = (
    KernelCase(
        name="rotary",
        kernel=_rotary_kernel,
        types={
            **dict.fromkeys(("out_ptr", "x_ptr"), "*bf16"),
            **dict.fromkeys(("cos_ptr", "sin_ptr"), "*fp32"),
            "heads": "i32",
            **dict.fromkeys(("half", "x_token_stride", "x_head_stride"), "i32:16"),
        },
        constexprs={"HEADS": 32, "HALF": 64},
    ),
)
