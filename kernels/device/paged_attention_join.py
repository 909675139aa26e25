"""Joins what several programs found for one query in their shares of its pages (Flash-Decoding)."""

import torch
import triton  # type: ignore[import-untyped]  # ships no types
import triton.language as tl  # type: ignore[import-untyped]

from antiphon.kernels.cases import KernelCase
from antiphon.kernels.device.paged_attention_tiles import LEAST_SPLIT_PAGES
from antiphon.kernels.paged_layout import PAGE, PagedLayout


@triton.jit  # type: ignore[untyped-decorator]
def join(
    best: tl.tensor,
    total: tl.tensor,
    out: tl.tensor,
    next_best: tl.tensor,
    next_total: tl.tensor,
    next_out: tl.tensor,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """What ``_attend`` found in two ranges of pages, as if in one. The first range holds a key that each row sees."""
    higher = tl.maximum(best, next_best)
    shrink = tl.exp2(best - higher)
    grow = tl.exp2(next_best - higher)
    return higher, total * shrink + next_total * grow, out * shrink[:, None] + next_out * grow[:, None]


@triton.jit(do_not_specialize=["splits", "few"])  # type: ignore[untyped-decorator]
def _join_splits_kernel(
    # tensors
    out_ptr: tl.tensor,  # [tokens, heads, WIDTH]
    split_out_ptr: tl.tensor,  # [rows * few, heads, splits, WIDTH], float32
    split_state_ptr: tl.tensor,  # [rows * few, heads, splits, 2], float32
    starts_ptr: tl.tensor,  # [rows + 1]
    contexts_ptr: tl.tensor,  # [rows]
    # scalars
    heads: int,
    splits: int,
    few: int,  # rows with more queries were not split
    # constexprs
    WIDTH: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PAGE: tl.constexpr,
    SPLIT_PAGES: tl.constexpr,
) -> None:
    row = tl.program_id(0)
    query = tl.program_id(1)
    start = tl.load(starts_ptr + row)
    queries = tl.load(starts_ptr + row + 1) - start
    if (query >= queries) | (queries > few):
        return
    pages = tl.cdiv(tl.load(contexts_ptr + row), PAGE)
    count = tl.cdiv(pages, tl.maximum(tl.cdiv(pages, splits), SPLIT_PAGES))
    head = (start + query).to(tl.int64) * heads + tl.program_id(2)
    first = ((row.to(tl.int64) * few + query) * heads + tl.program_id(2)) * splits
    one = tl.arange(0, 1)
    lane = tl.arange(0, BLOCK_D)[None, :]
    best = tl.full([1], float("-inf"), tl.float32)
    total = tl.zeros([1], tl.float32)
    out = tl.zeros([1, BLOCK_D], tl.float32)
    # One after the other, as a SEGMENTED program does it; unrolled, so that loads need not wait for each other.
    for place in tl.range(first, first + count, loop_unroll_factor=8):
        next_best = tl.load(split_state_ptr + place * 2 + one)
        next_total = tl.load(split_state_ptr + place * 2 + 1 + one)
        next_out = tl.load(split_out_ptr + place * WIDTH + lane, mask=lane < WIDTH, other=0.0)
        best, total, out = join(best, total, out, next_best, next_total, next_out)
    out = out / total[:, None]
    tl.store(out_ptr + head * WIDTH + lane, out.to(out_ptr.dtype.element_ty), mask=lane < WIDTH)


def join_splits_launcher(
    out: torch.Tensor,  # [tokens, heads, width], contiguous
    split_out: torch.Tensor,  # [rows, few, heads, splits, width], float32, contiguous
    split_state: torch.Tensor,  # [rows, few, heads, splits, 2], float32, contiguous
    layout: PagedLayout,
    split_pages: int,
    fuse: bool,
) -> None:
    """Fill ``out`` where rows have at most ``few`` queries. ``fuse``: a product and a sum may be rounded once."""
    rows, few, heads, splits, width = split_out.shape
    _join_splits_kernel[rows, few, heads](
        out,
        split_out,
        split_state,
        layout.query_starts,
        layout.context_tokens,
        heads,
        splits,
        few,
        WIDTH=width,
        BLOCK_D=triton.next_power_of_2(width),
        PAGE=PAGE,
        SPLIT_PAGES=split_pages,
        num_warps=1,
        enable_fp_fusion=fuse,
    )


CASES = (
    KernelCase(
        name="paged_attention_join",
        kernel=_join_splits_kernel,
        types={
            "out_ptr": "*bf16",
            **dict.fromkeys(("split_out_ptr", "split_state_ptr"), "*fp32"),
            **dict.fromkeys(("starts_ptr", "contexts_ptr"), "*i32"),
            **dict.fromkeys(("heads", "splits", "few"), "i32"),
        },
        constexprs={"WIDTH": 128, "BLOCK_D": 128, "PAGE": PAGE, "SPLIT_PAGES": LEAST_SPLIT_PAGES},
        num_warps=1,
    ),
)
