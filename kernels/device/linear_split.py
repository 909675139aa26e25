"""Adds the parts of a product whose depth was split, always in the same order: atomic additions would not be."""

import torch
import triton  # type: ignore[import-untyped]  # ships no types
import triton.language as tl  # type: ignore[import-untyped]

from antiphon.kernels.cases import KernelCase

_BLOCK = 512
_LEAST_STEPS = 4  # of a split: fewer, and filling its pipeline costs more than the split saves


def split_depth(programs: int, steps: int, units: int) -> tuple[int, int]:
    """(splits, steps of each) of a product that has ``programs`` tiles of outputs and ``steps`` along its depth.

    As many as give every unit of the device (multiprocessor) a program; one where the tiles alone do.
    """
    wanted = min(units // max(programs, 1), steps // _LEAST_STEPS)
    each = -(-steps // max(wanted, 1))
    return (-(-steps // each), each) if steps else (1, 0)


@triton.jit(do_not_specialize=["size", "splits"])  # type: ignore[untyped-decorator]
def _linear_split_kernel(
    # tensors
    out_ptr: tl.tensor,  # [size], rows of width
    parts_ptr: tl.tensor,  # [splits, size]
    bias_ptr: tl.tensor,  # [width], not read unless HAS_BIAS
    # scalars
    size: int,
    width: int,
    splits: int,
    # constexprs
    HAS_BIAS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    total = tl.zeros([BLOCK], dtype=tl.float32)
    for split in range(0, splits):
        total += tl.load(parts_ptr + tl.cast(split, tl.int64) * size + place, mask=inside, other=0.0)
    if HAS_BIAS:
        total += tl.load(bias_ptr + place % width, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_ptr + place, total.to(out_ptr.dtype.element_ty), mask=inside)


def linear_split_launcher(
    out: torch.Tensor,  # [rows, width], contiguous
    parts: torch.Tensor,  # [splits, rows, width], contiguous, float32
    bias: torch.Tensor | None,  # [width], contiguous
) -> None:
    """Fill ``out``."""
    size = out.numel()
    _linear_split_kernel[(triton.cdiv(size, _BLOCK),)](
        out,
        parts,
        out if bias is None else bias,
        size,
        out.shape[-1],
        parts.shape[0],
        HAS_BIAS=bias is not None,
        BLOCK=_BLOCK,
        num_warps=4,
    )


CASES = (
    KernelCase(
        name="linear_split",
        kernel=_linear_split_kernel,
        types={
            "out_ptr": "*bf16",
            "parts_ptr": "*fp32",
            "bias_ptr": "*bf16",
            "size": "i32",
            "width": "i32:16",
            "splits": "i32",
        },
        constexprs={"HAS_BIAS": False, "BLOCK": _BLOCK},
    ),
)
