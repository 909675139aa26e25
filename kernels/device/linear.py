"""Matrix product with a weight: tiles over rows and outputs, and a kernel of its own for a single row.

Few rows are bound by the bytes of the weight, so what counts is how many of them are on their way at once. Where there
are too few tiles for the device, the depth is split too; the parts are added in a fixed order by ``linear_split``.
"""

from dataclasses import dataclass

import torch
import triton  # type: ignore[import-untyped]  # ships no types
import triton.language as tl  # type: ignore[import-untyped]

from antiphon.kernels.cases import KernelCase
from antiphon.kernels.device.linear_split import split_depth
from antiphon.kernels.registry import facts_for
from antiphon.kernels.tiles import Tile, find_tile

SKINNY_ROWS = 16  # the smallest side of a matrix instruction

# One row: products stay in registers, each warp reads whole lines of the weight. No stages: nothing to feed a tl.dot.
_ROW = Tile(sizes={"BLOCK_N": 4, "BLOCK_K": 1024}, num_warps=4, num_stages=1)
_SKINNY = Tile(sizes={"BLOCK_M": SKINNY_ROWS, "BLOCK_N": 32, "BLOCK_K": 128, "GROUP_M": 1}, num_warps=4, num_stages=4)
_LARGE = Tile(sizes={"BLOCK_M": 128, "BLOCK_N": 128, "BLOCK_K": 32, "GROUP_M": 8}, num_warps=8, num_stages=3)
_DEFAULTS = {"row": _ROW, "skinny": _SKINNY, "large": _LARGE}
# Where a block may use 160 KiB of shared memory. Three blocks of 16 KiB on their way cover the memory's latency: an
# H200 needs about 25 KiB a multiprocessor (4.3 TB/s for 0.75 us, over 132 of them).
_ROOMY_DEFAULTS = {
    "row": _ROW,
    "skinny": Tile(
        sizes={"BLOCK_M": SKINNY_ROWS, "BLOCK_N": 32, "BLOCK_K": 256, "GROUP_M": 1}, num_warps=4, num_stages=4
    ),
    "large": Tile(sizes={"BLOCK_M": 128, "BLOCK_N": 256, "BLOCK_K": 64, "GROUP_M": 8}, num_warps=8, num_stages=3),
}
ROOMY = ("sm_80", "sm_90", "sm_100")


@triton.jit  # type: ignore[untyped-decorator]
def _linear_row_kernel(
    # tensors
    out_ptr: tl.tensor,  # [width]
    x_ptr: tl.tensor,  # [depth]
    weight_ptr: tl.tensor,  # [width, depth]
    bias_ptr: tl.tensor,  # [width], not read unless HAS_BIAS
    # scalars
    width: int,
    depth: int,
    # constexprs
    HAS_BIAS: tl.constexpr,
    EVEN_DEPTH: tl.constexpr,  # depth is a multiple of BLOCK_K
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> None:
    columns = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = columns < width
    lanes = tl.arange(0, BLOCK_K)
    weight_rows = weight_ptr + columns.to(tl.int64)[:, None] * depth
    products = tl.zeros([BLOCK_N, BLOCK_K], dtype=tl.float32)
    for start in range(0, depth, BLOCK_K):
        deep = start + lanes
        if EVEN_DEPTH:
            x = tl.load(x_ptr + deep)
            weight = tl.load(weight_rows + deep[None, :], mask=inside[:, None], other=0.0)
        else:
            x = tl.load(x_ptr + deep, mask=deep < depth, other=0.0)
            weight = tl.load(weight_rows + deep[None, :], mask=inside[:, None] & (deep < depth)[None, :], other=0.0)
        products += weight.to(tl.float32) * x.to(tl.float32)[None, :]
    total = tl.sum(products, axis=1)
    if HAS_BIAS:
        total += tl.load(bias_ptr + columns, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_ptr + columns, total.to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["rows"])  # type: ignore[untyped-decorator]
def _linear_kernel(
    # tensors
    out_ptr: tl.tensor,  # [splits, rows, width]
    x_ptr: tl.tensor,  # [rows, depth]
    weight_ptr: tl.tensor,  # [width, depth]
    bias_ptr: tl.tensor,  # [width], not read unless HAS_BIAS
    # scalars
    rows: int,
    width: int,
    depth: int,
    split_depth: int,  # a multiple of BLOCK_K
    # constexprs
    HAS_BIAS: tl.constexpr,
    EVEN_DEPTH: tl.constexpr,  # depth is a multiple of BLOCK_K
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,  # tiles of rows that are visited before the next tile of outputs, for the cache's sake
) -> None:
    tiles_m = tl.cdiv(rows, BLOCK_M)
    tiles_n = tl.cdiv(width, BLOCK_N)
    group, place = tl.program_id(0) // (GROUP_M * tiles_n), tl.program_id(0) % (GROUP_M * tiles_n)
    group_size = tl.minimum(tiles_m - group * GROUP_M, GROUP_M)
    row = (group * GROUP_M + place % group_size) * BLOCK_M + tl.arange(0, BLOCK_M)
    column = place // group_size * BLOCK_N + tl.arange(0, BLOCK_N)
    split = tl.program_id(1)
    first = split * split_depth

    lanes = first + tl.arange(0, BLOCK_K)
    x_tile = x_ptr + row.to(tl.int64)[:, None] * depth + lanes[None, :]
    weight_tile = weight_ptr + column.to(tl.int64)[None, :] * depth + lanes[:, None]
    total = tl.zeros([BLOCK_M, BLOCK_N], dtype=tl.float32)
    for start in range(first, tl.minimum(first + split_depth, depth), BLOCK_K):
        if EVEN_DEPTH:
            x = tl.load(x_tile, mask=(row < rows)[:, None], other=0.0)
            weight = tl.load(weight_tile, mask=(column < width)[None, :], other=0.0)
        else:
            deep = tl.arange(0, BLOCK_K) < depth - start
            x = tl.load(x_tile, mask=(row < rows)[:, None] & deep[None, :], other=0.0)
            weight = tl.load(weight_tile, mask=(column < width)[None, :] & deep[:, None], other=0.0)
        total = tl.dot(x, weight, total, input_precision="ieee")
        x_tile += BLOCK_K
        weight_tile += BLOCK_K
    if HAS_BIAS:
        total += tl.load(bias_ptr + column, mask=column < width, other=0.0).to(tl.float32)[None, :]
    target = out_ptr + (split * rows + row).to(tl.int64)[:, None] * width + column[None, :]
    inside = (row < rows)[:, None] & (column < width)[None, :]
    tl.store(target, total.to(out_ptr.dtype.element_ty), mask=inside)


def linear_row_launcher(
    out: torch.Tensor,  # [1, width], contiguous
    x: torch.Tensor,  # [1, depth], contiguous
    weight: torch.Tensor,  # [width, depth], contiguous
    bias: torch.Tensor | None,  # [width], contiguous
) -> None:
    """Fill ``out`` for a single row."""
    width, depth = weight.shape
    tile = linear_tile("row", facts_for(x).arch)
    _linear_row_kernel[(triton.cdiv(width, tile.sizes["BLOCK_N"]),)](
        out,
        x,
        weight,
        weight if bias is None else bias,
        width,
        depth,
        HAS_BIAS=bias is not None,
        EVEN_DEPTH=depth % tile.sizes["BLOCK_K"] == 0,
        **tile.launch(),
    )


@dataclass(frozen=True, kw_only=True)
class LinearPlan:
    """How a product is cut: the tile, and the depth that each of ``splits`` programs of an output tile sums."""

    tile: Tile
    splits: int
    split_depth: int


def plan_linear(x: torch.Tensor, weight: torch.Tensor, *, fixed: bool) -> LinearPlan:
    """The plan for ``x`` [rows, depth]. A ``fixed`` one is the same for every number of rows, and never split."""
    facts = facts_for(x)
    rows, (width, depth) = x.shape[0], weight.shape
    skinny = rows <= SKINNY_ROWS and not fixed
    tile = linear_tile("skinny" if skinny else "large", facts.arch)
    programs = triton.cdiv(width, tile.sizes["BLOCK_N"])
    steps = triton.cdiv(depth, tile.sizes["BLOCK_K"])
    splits, split_steps = split_depth(programs, steps, facts.units) if skinny else (1, steps)
    return LinearPlan(tile=tile, splits=splits, split_depth=split_steps * tile.sizes["BLOCK_K"])


def linear_launcher(
    out: torch.Tensor,  # [splits, rows, width], contiguous; float32 where splits > 1
    x: torch.Tensor,  # [rows, depth], contiguous
    weight: torch.Tensor,  # [width, depth], contiguous
    bias: torch.Tensor | None,  # [width], contiguous; None where splits > 1
    plan: LinearPlan,
) -> None:
    """Fill ``out``: the product itself, or the parts of it that are still to be added."""
    rows, (width, depth) = x.shape[0], weight.shape
    sizes = plan.tile.sizes
    _linear_kernel[(triton.cdiv(rows, sizes["BLOCK_M"]) * triton.cdiv(width, sizes["BLOCK_N"]), plan.splits)](
        out,
        x,
        weight,
        weight if bias is None else bias,
        rows,
        width,
        depth,
        plan.split_depth,
        HAS_BIAS=bias is not None,
        EVEN_DEPTH=depth % sizes["BLOCK_K"] == 0,
        **plan.tile.launch(),
    )


def linear_tile(bucket: str, arch: str) -> Tile:
    """The tile for one row ("row"), up to 16 ("skinny") or any number of them ("large")."""
    default = (_ROOMY_DEFAULTS if arch in ROOMY else _DEFAULTS)[bucket]
    return find_tile("linear", arch=arch, dtype="bf16", bucket=bucket, default=default)


_TYPES = {
    "out_ptr": "*bf16",
    "x_ptr": "*bf16",
    "weight_ptr": "*bf16",
    "bias_ptr": "*bf16",
    "width": "i32:16",
    "depth": "i32:16",
}
CASES = (
    KernelCase(
        name="linear.row",
        kernel=_linear_row_kernel,
        types=_TYPES,
        constexprs={"HAS_BIAS": False, "EVEN_DEPTH": True},
        tile=lambda arch: linear_tile("row", arch),
    ),
    *(
        KernelCase(
            name=f"linear.{bucket}",
            kernel=_linear_kernel,
            types={**_TYPES, "rows": "i32", "split_depth": "i32:16"},
            constexprs={"HAS_BIAS": False, "EVEN_DEPTH": True},
            tile=lambda arch, bucket=bucket: linear_tile(bucket, arch),  # type: ignore[misc]  # mypy: default of a lambda
            expects_mma=True,
        )
        for bucket in ("skinny", "large")
    ),
)
