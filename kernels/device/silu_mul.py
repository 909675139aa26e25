"""SiLU-gated product: a grid of (row, block of columns)."""

import torch
import triton  # type: ignore[import-untyped]  # ships no types
import triton.language as tl  # type: ignore[import-untyped]

_BLOCK = 1024


@triton.jit  # type: ignore[untyped-decorator]
def _silu_mul_kernel(
    # tensors
    out_ptr: tl.tensor,  # [rows, width]
    gate_up_ptr: tl.tensor,  # [rows, 2 * width]
    # scalars
    width: int,
    # constexprs
    BLOCK: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    gate = tl.load(gate_up_ptr + row * 2 * width + columns, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up_ptr + row * 2 * width + width + columns, mask=inside, other=0.0).to(tl.float32)
    product = gate / (1.0 + tl.exp(-gate)) * up
    tl.store(out_ptr + row * width + columns, product.to(out_ptr.dtype.element_ty), mask=inside)


def silu_mul_launcher(
    out: torch.Tensor,  # [rows, width], contiguous
    gate_up: torch.Tensor,  # [rows, 2 * width], contiguous
) -> None:
    """Fill ``out``."""
    rows, width = out.shape
    _silu_mul_kernel[(rows, triton.cdiv(width, _BLOCK))](out, gate_up, width, BLOCK=_BLOCK, num_warps=4)
