"""RMS norm: one program a row, the whole row in registers."""

import torch
import triton  # type: ignore[import-untyped]  # ships no types
import triton.language as tl  # type: ignore[import-untyped]


@triton.jit  # type: ignore[untyped-decorator]
def _rms_norm_kernel(
    # tensors
    out_ptr: tl.tensor,  # [rows, width]
    x_ptr: tl.tensor,  # [rows, width]
    weight_ptr: tl.tensor,  # [width]
    # scalars
    width: int,
    eps: float,
    # constexprs
    BLOCK: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    x = tl.load(x_ptr + row * width + columns, mask=inside, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + columns, mask=inside, other=0.0).to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(x * x, axis=0) / width + eps)
    tl.store(out_ptr + row * width + columns, (x * scale * weight).to(out_ptr.dtype.element_ty), mask=inside)


def rms_norm_launcher(
    out: torch.Tensor,  # [rows, width], contiguous
    x: torch.Tensor,  # [rows, width], contiguous
    weight: torch.Tensor,  # [width], contiguous
    eps: float,
) -> None:
    """Fill ``out``."""
    rows, width = x.shape
    block = triton.next_power_of_2(width)
    _rms_norm_kernel[(rows,)](out, x, weight, width, eps, BLOCK=block, num_warps=min(16, max(1, block // 256)))
