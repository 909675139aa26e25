"""RMS norm: one program a row, the whole row in registers; residual sum and quantisation cost no pass more."""

import torch
import triton  # type: ignore[import-untyped]  # ships no types
import triton.language as tl  # type: ignore[import-untyped]

from antiphon.kernels.cases import KernelCase
from antiphon.kernels.device.quantise import quantised


@triton.jit  # type: ignore[untyped-decorator]
def _rms_norm_kernel(
    # tensors
    out_ptr: tl.tensor,  # [rows, width]
    x_ptr: tl.tensor,  # [rows, width], any stride between rows
    weight_ptr: tl.tensor,  # [width]
    # scalars
    width: int,
    x_stride: int,
    eps: float,
    # constexprs
    BLOCK: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    x = tl.load(x_ptr + row * x_stride + columns, mask=inside, other=0.0).to(tl.float32)
    normed = _normed(x, weight_ptr, columns, inside, width, eps)
    tl.store(out_ptr + row * width + columns, normed.to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _add_rms_norm_kernel(
    # tensors
    out_ptr: tl.tensor,  # [rows, width]
    sum_ptr: tl.tensor,  # [rows, width]
    x_ptr: tl.tensor,  # [rows, width], any stride between rows
    residual_ptr: tl.tensor,  # [rows, width], any stride between rows
    weight_ptr: tl.tensor,  # [width]
    # scalars
    width: int,
    x_stride: int,
    residual_stride: int,
    eps: float,
    # constexprs
    BLOCK: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    x = tl.load(x_ptr + row * x_stride + columns, mask=inside, other=0.0).to(tl.float32)
    residual = tl.load(residual_ptr + row * residual_stride + columns, mask=inside, other=0.0).to(tl.float32)
    # Rounded before it is normed: the next layer reads the rounded sum, and so must this one.
    total = (x + residual).to(sum_ptr.dtype.element_ty)
    tl.store(sum_ptr + row * width + columns, total, mask=inside)
    normed = _normed(total.to(tl.float32), weight_ptr, columns, inside, width, eps)
    tl.store(out_ptr + row * width + columns, normed.to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _rms_norm_quant_kernel(
    # tensors
    out_ptr: tl.tensor,  # [rows, width], int8, or uint8 that holds e4m3
    scale_ptr: tl.tensor,  # [rows], float32
    x_ptr: tl.tensor,  # [rows, width], any stride between rows
    weight_ptr: tl.tensor,  # [width]
    # scalars
    width: int,
    x_stride: int,
    eps: float,
    # constexprs
    FP8: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    x = tl.load(x_ptr + row * x_stride + columns, mask=inside, other=0.0).to(tl.float32)
    codes, scale = quantised(_normed(x, weight_ptr, columns, inside, width, eps), FP8)
    tl.store(out_ptr + row * width + columns, codes, mask=inside)
    tl.store(scale_ptr + row, scale)


@triton.jit  # type: ignore[untyped-decorator]
def _normed(
    x: tl.tensor, weight_ptr: tl.tensor, columns: tl.tensor, inside: tl.tensor, width: int, eps: float
) -> tl.tensor:
    weight = tl.load(weight_ptr + columns, mask=inside, other=0.0).to(tl.float32)
    return x * (1.0 / tl.sqrt(tl.sum(x * x, axis=0) / width + eps)) * weight


def rms_norm_launcher(
    out: torch.Tensor,  # [rows, width], contiguous
    x: torch.Tensor,  # [rows, width], last dimension contiguous
    weight: torch.Tensor,  # [width], contiguous
    eps: float,
) -> None:
    """Fill ``out``."""
    rows, width = x.shape
    _rms_norm_kernel[(rows,)](out, x, weight, width, x.stride(0), eps, **_cut(width))


def add_rms_norm_launcher(
    out: torch.Tensor,  # [rows, width], contiguous
    total: torch.Tensor,  # [rows, width], contiguous
    x: torch.Tensor,  # [rows, width], last dimension contiguous
    residual: torch.Tensor,  # [rows, width], last dimension contiguous
    weight: torch.Tensor,  # [width], contiguous
    eps: float,
) -> None:
    """Fill ``out`` with the norm of the sum, and ``total`` with the sum."""
    rows, width = x.shape
    strides = x.stride(0), residual.stride(0)
    _add_rms_norm_kernel[(rows,)](out, total, x, residual, weight, width, *strides, eps, **_cut(width))


def rms_norm_quant_launcher(
    out: torch.Tensor,  # [rows, width], contiguous, int8 or float8_e4m3fn
    scale: torch.Tensor,  # [rows], contiguous, float32
    x: torch.Tensor,  # [rows, width], last dimension contiguous
    weight: torch.Tensor,  # [width], contiguous
    eps: float,
) -> None:
    """Fill ``out`` and ``scale``."""
    rows, width = x.shape
    fp8 = out.dtype is torch.float8_e4m3fn
    codes = out.view(torch.uint8) if fp8 else out
    _rms_norm_quant_kernel[(rows,)](codes, scale, x, weight, width, x.stride(0), eps, FP8=fp8, **_cut(width))


def _cut(width: int) -> dict[str, int]:
    """Eight values a thread: one 16-byte load of bf16."""
    block = triton.next_power_of_2(width)
    return {"BLOCK": block, "num_warps": min(16, max(1, block // 256))}


_ROW = {"x_ptr": "*bf16", "weight_ptr": "*bf16", "width": "i32:16", "x_stride": "i32:16", "eps": "fp32"}
CASES = (
    KernelCase(
        name="rms_norm",
        kernel=_rms_norm_kernel,
        types={**_ROW, "out_ptr": "*bf16"},
        constexprs={"BLOCK": 4096},
        num_warps=16,
    ),
    KernelCase(
        name="add_rms_norm",
        kernel=_add_rms_norm_kernel,
        types={
            **_ROW,
            "out_ptr": "*bf16",
            "sum_ptr": "*bf16",
            "residual_ptr": "*bf16",
            "residual_stride": "i32:16",
        },
        constexprs={"BLOCK": 4096},
        num_warps=16,
    ),
    KernelCase(
        name="rms_norm_quant.int8",
        kernel=_rms_norm_quant_kernel,
        types={**_ROW, "out_ptr": "*i8", "scale_ptr": "*fp32"},
        constexprs={"FP8": False, "BLOCK": 4096},
        num_warps=16,
    ),
    KernelCase(
        name="rms_norm_quant.fp8",
        kernel=_rms_norm_quant_kernel,
        types={**_ROW, "out_ptr": "*u8", "scale_ptr": "*fp32"},
        constexprs={"FP8": True, "BLOCK": 4096},
        num_warps=16,
    ),
)
