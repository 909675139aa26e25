"""Matrix product with a packed weight: codes are unpacked and scaled in registers, from 32-bit words.

``kernels/packed.py`` gives the layout. Of a tile of words, the codes in the same place of every word are a "plane": a
tile of weights that meets its own slice of the inputs, so nothing is ever shuffled between threads. A code becomes a
float by a shift, a mask and an or: of its bits as the top of the mantissa of 16.0 (4 bits) or 256.0 (8 bits) the value
is 16 + code or 256 + code, without an integer conversion, which is slow on every chip.
"""

import torch
import triton  # type: ignore[import-untyped]  # ships no types
import triton.language as tl  # type: ignore[import-untyped]

from antiphon.kernels.cases import KernelCase
from antiphon.kernels.device.fp8 import from_e4m3
from antiphon.kernels.device.linear import ROOMY, SKINNY_ROWS, LinearPlan
from antiphon.kernels.device.linear_split import split_depth
from antiphon.kernels.packed import PackedKind, PackedLinear
from antiphon.kernels.registry import facts_for
from antiphon.kernels.tiles import Tile, find_tile

# Four rows a thread and 16 words: enough of them share an input's conversion, and three blocks fit a multiprocessor.
_ROW = Tile(sizes={"BLOCK_N": 16, "WORDS": 128}, num_warps=4, num_stages=1)
_DEFAULTS = {
    "row": _ROW,
    "skinny": Tile(sizes={"BLOCK_M": SKINNY_ROWS, "BLOCK_N": 64, "WORDS": 16}, num_warps=4, num_stages=3),
    "large": Tile(sizes={"BLOCK_M": 64, "BLOCK_N": 64, "WORDS": 16}, num_warps=4, num_stages=2),
}
_ROOMY_DEFAULTS = {
    "row": _ROW,
    "skinny": Tile(sizes={"BLOCK_M": SKINNY_ROWS, "BLOCK_N": 64, "WORDS": 32}, num_warps=4, num_stages=3),
    "large": Tile(sizes={"BLOCK_M": 128, "BLOCK_N": 128, "WORDS": 16}, num_warps=8, num_stages=2),
}


@triton.jit  # type: ignore[untyped-decorator]
def _plane(words, PLANE: tl.constexpr, BITS: tl.constexpr, FP8: tl.constexpr):  # type: ignore[no-untyped-def]
    """The codes in one place of each word, float32: plus 2^BITS, unless they are FP8."""
    if FP8:
        return from_e4m3(words >> (8 * PLANE))
    else:
        SHIFT: tl.constexpr = BITS * PLANE - (23 - BITS)
        moved = words >> SHIFT if SHIFT >= 0 else words << -SHIFT
        MASK: tl.constexpr = ((1 << BITS) - 1) << (23 - BITS)
        ONE: tl.constexpr = (127 + BITS) << 23
        return ((moved & MASK) | ONE).to(tl.float32, bitcast=True)


@triton.jit  # type: ignore[untyped-decorator]
def _scales(  # type: ignore[no-untyped-def]
    scales_ptr, offsets_ptr, place, mask, BITS: tl.constexpr, HAS_OFFSETS: tl.constexpr
):
    """(scale, addend) so that a weight is ``_plane * scale + addend``."""
    scale = tl.load(scales_ptr + place, mask=mask, other=0.0).to(tl.float32)
    if HAS_OFFSETS:
        offset = tl.load(offsets_ptr + place, mask=mask, other=0.0).to(tl.float32)
        addend = offset - scale * (1 << BITS)
    else:
        addend = scale * (-1.5 * (1 << BITS))
    return scale, addend


@triton.jit  # type: ignore[untyped-decorator]
def _quantised_row_kernel(
    # tensors
    out_ptr: tl.tensor,  # [width]
    x_ptr: tl.tensor,  # [depth]
    words_ptr: tl.tensor,  # [width, depth * BITS / 32]
    scales_ptr: tl.tensor,  # [width, depth / 32] where GROUPED, else [width]
    offsets_ptr: tl.tensor,  # [width, depth / 32], not read unless HAS_OFFSETS
    # scalars
    width: int,
    depth: int,
    # constexprs
    BITS: tl.constexpr,
    GROUPED: tl.constexpr,
    HAS_OFFSETS: tl.constexpr,
    FP8: tl.constexpr,
    BLOCK_N: tl.constexpr,
    WORDS: tl.constexpr,  # of a row and step; 32 / BITS weights each
) -> None:
    column = (tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    inside = column < width
    row_words = depth // 32 * BITS
    total = tl.zeros([BLOCK_N, WORDS], dtype=tl.float32)
    for start in range(0, row_words, WORDS):
        word = start + tl.arange(0, WORDS)
        real = word < row_words
        mask = inside[:, None] & real[None, :]
        words = tl.load(words_ptr + column[:, None] * row_words + word[None, :], mask=mask, other=0)
        deep = word // BITS * 32 + word % BITS
        part = tl.zeros([BLOCK_N, WORDS], dtype=tl.float32)
        x_sum = tl.zeros([WORDS], dtype=tl.float32)
        for plane in tl.static_range(32 // BITS):
            x = tl.load(x_ptr + deep + BITS * plane, mask=real, other=0.0).to(tl.float32)
            part += _plane(words, plane, BITS, FP8) * x[None, :]
            x_sum += x
        if GROUPED:
            place = column[:, None] * (depth // 32) + (word // BITS)[None, :]
            scale, addend = _scales(scales_ptr, offsets_ptr, place, mask, BITS, HAS_OFFSETS)
            total += part * scale + x_sum[None, :] * addend
        elif FP8:
            total += part
        else:
            total += part - x_sum[None, :] * (1.5 * (1 << BITS))
    y = tl.sum(total, axis=1)
    if not GROUPED:
        y *= tl.load(scales_ptr + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_ptr + column, y.to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["rows"])  # type: ignore[untyped-decorator]
def _quantised_linear_kernel(
    # tensors
    out_ptr: tl.tensor,  # [splits, rows, width]
    x_ptr: tl.tensor,  # [rows, depth]
    words_ptr: tl.tensor,  # [width, depth * BITS / 32]
    scales_ptr: tl.tensor,  # [width, depth / 32] where GROUPED, else [width]
    offsets_ptr: tl.tensor,  # [width, depth / 32], not read unless HAS_OFFSETS
    # scalars
    rows: int,
    width: int,
    depth: int,
    split_words: int,  # of a row, that one split sums; a multiple of WORDS
    # constexprs
    BITS: tl.constexpr,
    GROUPED: tl.constexpr,
    HAS_OFFSETS: tl.constexpr,
    FP8: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    WORDS: tl.constexpr,  # of a row and step; 32 / BITS weights each
) -> None:
    # Neighbours share a tile of weights, the larger of the two sides while rows are few.
    tiles_m = tl.cdiv(rows, BLOCK_M)
    row = (tl.program_id(0) % tiles_m * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    column = (tl.program_id(0) // tiles_m * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    split = tl.program_id(1)
    inside = column < width
    row_words = depth // 32 * BITS
    first = split * split_words
    # Transposed, so that the weights are the first operand: that one may stay in registers.
    total = tl.zeros([BLOCK_N, BLOCK_M], dtype=tl.float32)
    for start in range(first, tl.minimum(first + split_words, row_words), WORDS):
        word = start + tl.arange(0, WORDS)
        real = word < row_words
        mask = inside[:, None] & real[None, :]
        words = tl.load(words_ptr + column[:, None] * row_words + word[None, :], mask=mask, other=0)
        deep = word // BITS * 32 + word % BITS
        if GROUPED:
            place = column[:, None] * (depth // 32) + (word // BITS)[None, :]
            scale, addend = _scales(scales_ptr, offsets_ptr, place, mask, BITS, HAS_OFFSETS)
        for plane in tl.static_range(32 // BITS):
            x_tile = x_ptr + row[None, :] * depth + (deep + BITS * plane)[:, None]
            x = tl.load(x_tile, mask=(row < rows)[None, :] & real[:, None], other=0.0)
            weight = _plane(words, plane, BITS, FP8)
            if GROUPED:
                weight = weight * scale + addend
            elif not FP8:
                weight -= 1.5 * (1 << BITS)
            total = tl.dot(weight.to(x.dtype), x, total, input_precision="ieee")
    if not GROUPED:
        total *= tl.load(scales_ptr + column, mask=inside, other=0.0).to(tl.float32)[:, None]
    target = out_ptr + (split * rows + row)[None, :] * width + column[:, None]
    tl.store(target, total.to(out_ptr.dtype.element_ty), mask=inside[:, None] & (row < rows)[None, :])


def quantised_row_launcher(
    out: torch.Tensor,  # [1, width], contiguous
    x: torch.Tensor,  # [1, depth], contiguous
    packed: PackedLinear,
) -> None:
    """Fill ``out`` for a single row."""
    width, depth = packed.shape
    tile = quantised_tile(packed.kind, "row", facts_for(x).arch)
    _quantised_row_kernel[(triton.cdiv(width, tile.sizes["BLOCK_N"]),)](
        out,
        x,
        packed.codes,
        packed.scales,
        packed.scales if packed.offsets is None else packed.offsets,
        width,
        depth,
        **_meaning(packed.kind, packed.offsets is not None),
        **tile.launch(),
    )


def plan_quantised(x: torch.Tensor, packed: PackedLinear, *, fixed: bool) -> LinearPlan:
    """As ``plan_linear``; ``split_depth`` is in words."""
    facts = facts_for(x)
    skinny = x.shape[0] <= SKINNY_ROWS and not fixed
    tile = quantised_tile(packed.kind, "skinny" if skinny else "large", facts.arch)
    programs = triton.cdiv(packed.shape[0], tile.sizes["BLOCK_N"])
    steps = triton.cdiv(packed.codes.shape[1], tile.sizes["WORDS"])
    splits, split_steps = split_depth(programs, steps, facts.units) if skinny else (1, steps)
    return LinearPlan(tile=tile, splits=splits, split_depth=split_steps * tile.sizes["WORDS"])


def quantised_linear_launcher(
    out: torch.Tensor,  # [splits, rows, width], contiguous; float32 where splits > 1
    x: torch.Tensor,  # [rows, depth], contiguous
    packed: PackedLinear,
    plan: LinearPlan,
) -> None:
    """Fill ``out``: the product itself, or the parts of it that are still to be added."""
    rows, (width, depth) = x.shape[0], packed.shape
    sizes = plan.tile.sizes
    _quantised_linear_kernel[(triton.cdiv(rows, sizes["BLOCK_M"]) * triton.cdiv(width, sizes["BLOCK_N"]), plan.splits)](
        out,
        x,
        packed.codes,
        packed.scales,
        packed.scales if packed.offsets is None else packed.offsets,
        rows,
        width,
        depth,
        plan.split_depth,
        **_meaning(packed.kind, packed.offsets is not None),
        **plan.tile.launch(),
    )


def quantised_tile(kind: PackedKind, bucket: str, arch: str) -> Tile:
    """The tile for one row ("row"), up to 16 ("skinny") or any number of them ("large")."""
    default = (_ROOMY_DEFAULTS if arch in ROOMY else _DEFAULTS)[bucket]
    return find_tile("quantised_linear", arch=arch, dtype=kind, bucket=bucket, default=default)


def _meaning(kind: PackedKind, has_offsets: bool) -> dict[str, int | bool]:
    return {
        "BITS": kind.bits,
        "GROUPED": kind.grouped,
        "HAS_OFFSETS": has_offsets,
        "FP8": kind is PackedKind.FP8,
    }


def _cases(kind: PackedKind) -> tuple[KernelCase, ...]:
    types = {
        "out_ptr": "*bf16",
        "x_ptr": "*bf16",
        "words_ptr": "*i32",
        "scales_ptr": "*fp16" if kind.grouped else "*fp32",
        "offsets_ptr": "*fp16" if kind.grouped else "*fp32",
        "width": "i32:16",
        "depth": "i32:16",
    }
    meaning = _meaning(kind, kind is PackedKind.Q4)
    return (
        KernelCase(
            name=f"quantised_linear.{kind}.row",
            kernel=_quantised_row_kernel,
            types=types,
            constexprs=meaning,
            tile=lambda arch: quantised_tile(kind, "row", arch),
        ),
        *(
            KernelCase(
                name=f"quantised_linear.{kind}.{bucket}",
                kernel=_quantised_linear_kernel,
                types={**types, "rows": "i32", "split_words": "i32:16"},
                constexprs=meaning,
                tile=lambda arch, bucket=bucket: quantised_tile(kind, bucket, arch),  # type: ignore[misc]
                expects_mma=True,
            )
            for bucket in ("skinny", "large")
        ),
    )


CASES = tuple(case for kind in PackedKind for case in _cases(kind))
