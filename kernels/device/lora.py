"""Low-rank adapters of many rows in two launches: to the rank ("shrink"), and back to the outputs ("expand").

A program works on one segment, so on one adapter. A rank is walked in steps of 16, as many as the adapter has: a small
adapter in a batch with a large one does not pay for it. The first launch splits the inputs among programs, because a
batch of few adapters would leave the device idle; the second one adds the parts as it loads them, in a fixed order.
"""

import torch
import triton  # type: ignore[import-untyped]  # ships no types
import triton.language as tl  # type: ignore[import-untyped]

from antiphon.kernels.cases import KernelCase
from antiphon.kernels.lora import MOST_SLICES, SEGMENT, LoraLayout, LoraPool
from antiphon.kernels.registry import facts_for
from antiphon.kernels.tiles import Tile, find_tile

_STEP = 16  # ranks: the smallest side of a matrix instruction
_SHRINK = Tile(sizes={"BLOCK_K": 128}, num_warps=2, num_stages=3)
_EXPAND = Tile(sizes={"BLOCK_N": 128}, num_warps=4, num_stages=2)


@triton.jit(do_not_specialize=["positions"])  # type: ignore[untyped-decorator]
def _lora_shrink_kernel(
    # tensors
    parts_ptr: tl.tensor,  # [splits, positions, slices * most_rank], float32
    x_ptr: tl.tensor,  # [rows, inputs]
    a_ptr: tl.tensor,  # [slots, slices, most_rank, inputs]
    rows_ptr: tl.tensor,  # [segments, 16]
    slots_ptr: tl.tensor,  # [segments]
    ranks_ptr: tl.tensor,  # [slots]
    # scalars
    positions: int,  # segments * 16
    inputs: int,
    split_inputs: int,  # a multiple of BLOCK_K
    # constexprs
    SLICES: tl.constexpr,
    MOST_RANK: tl.constexpr,
    SEGMENT: tl.constexpr,
    STEP: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> None:
    segment = tl.program_id(0)
    STEPS: tl.constexpr = (MOST_RANK + STEP - 1) // STEP
    piece, step = tl.program_id(1) // STEPS, tl.program_id(1) % STEPS
    split = tl.program_id(2)
    slot = tl.load(slots_ptr + segment).to(tl.int64)
    if slot < 0:
        return
    ranks = tl.load(ranks_ptr + slot)
    if step * STEP >= ranks:
        return
    rank = step * STEP + tl.arange(0, STEP)
    position = segment * SEGMENT + tl.arange(0, SEGMENT)
    row = tl.load(rows_ptr + position).to(tl.int64)
    a_rows = a_ptr + ((slot * SLICES + piece) * MOST_RANK + rank)[None, :] * inputs
    total = tl.zeros([SEGMENT, STEP], dtype=tl.float32)
    first = split * split_inputs
    for start in range(first, tl.minimum(first + split_inputs, inputs), BLOCK_K):
        deep = start + tl.arange(0, BLOCK_K)
        real = deep < inputs
        x = tl.load(x_ptr + row[:, None] * inputs + deep[None, :], mask=(row >= 0)[:, None] & real[None, :], other=0.0)
        a = tl.load(a_rows + deep[:, None], mask=(rank < ranks)[None, :] & real[:, None], other=0.0)
        total = tl.dot(x, a, total, input_precision="ieee")
    target = parts_ptr + (split * positions + position).to(tl.int64)[:, None] * (SLICES * MOST_RANK)
    tl.store(target + (piece * MOST_RANK + rank)[None, :], total, mask=(rank < ranks)[None, :])


@triton.jit(do_not_specialize=["positions", "splits"])  # type: ignore[untyped-decorator]
def _lora_expand_kernel(
    # tensors
    y_ptr: tl.tensor,  # [rows, outputs]
    parts_ptr: tl.tensor,  # [splits, positions, slices * most_rank], float32
    b_ptr: tl.tensor,  # [slots, outputs, most_rank]
    rows_ptr: tl.tensor,  # [segments, 16]
    slots_ptr: tl.tensor,  # [segments]
    ranks_ptr: tl.tensor,  # [slots]
    scalings_ptr: tl.tensor,  # [slots]
    # scalars
    positions: int,  # segments * 16
    splits: int,
    width_0: int,  # outputs of each slice, 0 where there is none
    width_1: int,
    width_2: int,
    # constexprs
    SLICES: tl.constexpr,
    MOST_RANK: tl.constexpr,
    SEGMENT: tl.constexpr,
    STEP: tl.constexpr,
    BLOCK_N: tl.constexpr,
) -> None:
    segment = tl.program_id(0)
    slot = tl.load(slots_ptr + segment).to(tl.int64)
    if slot < 0:
        return
    # A tile of outputs lies in one slice.
    tile = tl.program_id(1)
    tiles_0, tiles_1 = tl.cdiv(width_0, BLOCK_N), tl.cdiv(width_1, BLOCK_N)
    piece = (tile >= tiles_0).to(tl.int32) + (tile >= tiles_0 + tiles_1).to(tl.int32)
    inner = tile - tl.where(piece > 0, tiles_0, 0) - tl.where(piece > 1, tiles_1, 0)
    first = tl.where(piece > 0, width_0, 0) + tl.where(piece > 1, width_1, 0)
    width = tl.where(piece == 0, width_0, tl.where(piece == 1, width_1, width_2))
    outputs = width_0 + width_1 + width_2
    place = inner * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = place < width
    column = first + place

    ranks = tl.load(ranks_ptr + slot)
    position = segment * SEGMENT + tl.arange(0, SEGMENT)
    row = tl.load(rows_ptr + position).to(tl.int64)
    b_rows = b_ptr + (slot * outputs + column)[None, :] * MOST_RANK
    total = tl.zeros([SEGMENT, BLOCK_N], dtype=tl.float32)
    for start in range(0, ranks, STEP):
        rank = start + tl.arange(0, STEP)
        real = rank < ranks
        part = parts_ptr + position.to(tl.int64)[:, None] * (SLICES * MOST_RANK) + (piece * MOST_RANK + rank)[None, :]
        shrunk = tl.zeros([SEGMENT, STEP], dtype=tl.float32)
        for split in range(0, splits):
            step = tl.cast(split, tl.int64) * positions * (SLICES * MOST_RANK)
            shrunk += tl.load(part + step, mask=real[None, :], other=0.0)
        b = tl.load(b_rows + rank[:, None], mask=inside[None, :] & real[:, None], other=0.0)
        total = tl.dot(shrunk.to(b.dtype), b, total, input_precision="ieee")
    total *= tl.load(scalings_ptr + slot)
    target = y_ptr + row[:, None] * outputs + column[None, :]
    mask = (row >= 0)[:, None] & inside[None, :]
    y = tl.load(target, mask=mask, other=0.0).to(tl.float32)
    tl.store(target, (y + total).to(y_ptr.dtype.element_ty), mask=mask)


def lora_splits(x: torch.Tensor, layout: LoraLayout, pool: LoraPool) -> int:
    """Into how many parts the inputs are split: a program for every unit of the device, of four blocks or more."""
    programs = max(1, layout.slots.shape[0] * len(pool.widths))
    blocks = triton.cdiv(pool.a.shape[3], lora_tile("shrink", facts_for(x).arch).sizes["BLOCK_K"])
    wanted = max(1, min(facts_for(x).units // programs, blocks // 4))
    return int(triton.cdiv(blocks, triton.cdiv(blocks, wanted)))


def lora_launcher(
    y: torch.Tensor,  # [rows, outputs], contiguous
    x: torch.Tensor,  # [rows, inputs], contiguous
    parts: torch.Tensor,  # [splits, segments * 16, slices * most_rank], contiguous, float32
    layout: LoraLayout,
    pool: LoraPool,
) -> None:
    """Add to ``y``; ``parts`` is written first and read then."""
    arch = facts_for(x).arch
    shrink, expand = lora_tile("shrink", arch), lora_tile("expand", arch)
    segments, inputs = layout.slots.shape[0], x.shape[1]
    splits, positions = parts.shape[:2]
    shape = {"SLICES": len(pool.widths), "MOST_RANK": pool.most_rank, "SEGMENT": SEGMENT, "STEP": _STEP}
    block = shrink.sizes["BLOCK_K"]
    steps = triton.cdiv(pool.most_rank, _STEP)
    _lora_shrink_kernel[(segments, len(pool.widths) * steps, splits)](
        parts,
        x,
        pool.a,
        layout.rows,
        layout.slots,
        pool.ranks,
        positions,
        inputs,
        triton.cdiv(triton.cdiv(inputs, block), splits) * block,
        **shape,
        **shrink.launch(),
    )
    widths = (*pool.widths, 0, 0)[:MOST_SLICES]
    tiles = sum(triton.cdiv(width, expand.sizes["BLOCK_N"]) for width in widths)
    _lora_expand_kernel[(segments, tiles)](
        y,
        parts,
        pool.b,
        layout.rows,
        layout.slots,
        pool.ranks,
        pool.scalings,
        positions,
        splits,
        *widths,
        **shape,
        **expand.launch(),
    )


def lora_tile(bucket: str, arch: str) -> Tile:
    """The tile of the first launch ("shrink") or the second ("expand")."""
    default = {"shrink": _SHRINK, "expand": _EXPAND}[bucket]
    return find_tile("lora", arch=arch, dtype="bf16", bucket=bucket, default=default)


_LAYOUT = {"rows_ptr": "*i32", "slots_ptr": "*i32", "ranks_ptr": "*i32", "parts_ptr": "*fp32", "positions": "i32"}
_SHAPE = {"SLICES": 3, "MOST_RANK": 64, "SEGMENT": SEGMENT, "STEP": _STEP}
CASES = (
    KernelCase(
        name="lora.shrink",
        kernel=_lora_shrink_kernel,
        types={**_LAYOUT, "x_ptr": "*bf16", "a_ptr": "*bf16", "inputs": "i32:16", "split_inputs": "i32:16"},
        constexprs=_SHAPE,
        tile=lambda arch: lora_tile("shrink", arch),
        expects_mma=True,
    ),
    KernelCase(
        name="lora.expand",
        kernel=_lora_expand_kernel,
        types={
            **_LAYOUT,
            "y_ptr": "*bf16",
            "b_ptr": "*bf16",
            "scalings_ptr": "*fp32",
            "splits": "i32",
            "width_0": "i32:16",
            "width_1": "i32:16",
            "width_2": "i32:16",
        },
        constexprs=_SHAPE,
        tile=lambda arch: lora_tile("expand", arch),
        expects_mma=True,
    ),
)
