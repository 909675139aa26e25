"""SiLU-gated product: a grid of (row, block of columns), or one program a row where it is quantised."""

import torch
import triton  # type: ignore[import-untyped]  # ships no types
import triton.language as tl  # type: ignore[import-untyped]

from antiphon.kernels.cases import KernelCase
from antiphon.kernels.device.quantise import quantised
from antiphon.kernels.registry import facts_for
from antiphon.kernels.tiles import Tile, find_tile

_TILE = Tile(sizes={"BLOCK": 1024}, num_warps=4, num_stages=1)


@triton.jit  # type: ignore[untyped-decorator]
def _silu_mul_kernel(
    # tensors
    out_ptr: tl.tensor,  # [rows, width]
    gate_up_ptr: tl.tensor,  # [rows, 2 * width], any stride between rows
    # scalars
    width: int,
    stride: int,
    # constexprs
    BLOCK: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    product = _product(gate_up_ptr + row * stride, columns, width)
    tl.store(out_ptr + row * width + columns, product.to(out_ptr.dtype.element_ty), mask=columns < width)


@triton.jit  # type: ignore[untyped-decorator]
def _silu_mul_quant_kernel(
    # tensors
    out_ptr: tl.tensor,  # [rows, width], int8, or uint8 that holds e4m3
    scale_ptr: tl.tensor,  # [rows], float32
    gate_up_ptr: tl.tensor,  # [rows, 2 * width], any stride between rows
    # scalars
    width: int,
    stride: int,
    # constexprs
    FP8: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    codes, scale = quantised(_product(gate_up_ptr + row * stride, columns, width), FP8)
    tl.store(out_ptr + row * width + columns, codes, mask=columns < width)
    tl.store(scale_ptr + row, scale)


@triton.jit  # type: ignore[untyped-decorator]
def _product(row_ptr: tl.tensor, columns: tl.tensor, width: int) -> tl.tensor:
    gate = tl.load(row_ptr + columns, mask=columns < width, other=0.0).to(tl.float32)
    up = tl.load(row_ptr + width + columns, mask=columns < width, other=0.0).to(tl.float32)
    return gate / (1.0 + tl.exp(-gate)) * up


def silu_mul_launcher(
    out: torch.Tensor,  # [rows, width], contiguous
    gate_up: torch.Tensor,  # [rows, 2 * width], last dimension contiguous
) -> None:
    """Fill ``out``."""
    rows, width = out.shape
    tile = silu_mul_tile(facts_for(out).arch)
    grid = rows, triton.cdiv(width, tile.sizes["BLOCK"])
    _silu_mul_kernel[grid](out, gate_up, width, gate_up.stride(0), **tile.launch())


def silu_mul_tile(arch: str) -> Tile:
    """The tile, whatever the dtype and the width."""
    return find_tile("silu_mul", arch=arch, default=_TILE)


def silu_mul_quant_launcher(
    out: torch.Tensor,  # [rows, width], contiguous, int8 or float8_e4m3fn
    scale: torch.Tensor,  # [rows], contiguous, float32
    gate_up: torch.Tensor,  # [rows, 2 * width], last dimension contiguous
) -> None:
    """Fill ``out`` and ``scale``."""
    rows, width = out.shape
    fp8 = out.dtype is torch.float8_e4m3fn
    block = triton.next_power_of_2(width)
    _silu_mul_quant_kernel[(rows,)](
        out.view(torch.uint8) if fp8 else out,
        scale,
        gate_up,
        width,
        gate_up.stride(0),
        FP8=fp8,
        BLOCK=block,
        num_warps=min(16, max(1, block // 256)),
    )


_ROW = {"gate_up_ptr": "*bf16", "width": "i32:16", "stride": "i32:16"}
CASES = (
    KernelCase(name="silu_mul", kernel=_silu_mul_kernel, types={**_ROW, "out_ptr": "*bf16"}, tile=silu_mul_tile),
    KernelCase(
        name="silu_mul_quant.int8",
        kernel=_silu_mul_quant_kernel,
        types={**_ROW, "out_ptr": "*i8", "scale_ptr": "*fp32"},
        constexprs={"FP8": False, "BLOCK": 16384},  # Llama-3.1-8B: 14,336
        num_warps=16,
    ),
    KernelCase(
        name="silu_mul_quant.fp8",
        kernel=_silu_mul_quant_kernel,
        types={**_ROW, "out_ptr": "*u8", "scale_ptr": "*fp32"},
        constexprs={"FP8": True, "BLOCK": 16384},
        num_warps=16,
    ),
)
