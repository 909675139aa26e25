"""Attention over a paged cache: one kernel for prompt chunks, decodes, drafts and any mix.

A program has ``BLOCK_M`` rows of scores: the queries of one row of the batch times the heads that share a key-value
head, so that each key is read once for all of them. It goes through the pages with a running softmax (arXiv
2205.14135): a tile of keys is a page, whose number is a scalar, which costs far fewer registers than an address a
token. Where queries are few and the context long, several programs share a row's pages, and ``paged_attention_join``
joins what they found (Flash-Decoding, https://pytorch.org/blog/flash-decoding).
"""

import torch
import triton  # type: ignore[import-untyped]  # ships no types
import triton.language as tl  # type: ignore[import-untyped]

from antiphon.kernels.cases import KernelCase
from antiphon.kernels.device.fp8 import from_e4m3
from antiphon.kernels.device.paged_attention_join import join, join_splits_launcher
from antiphon.kernels.device.paged_attention_tiles import (
    INVARIANT_SPLIT_PAGES,
    LEAST_SPLIT_PAGES,
    AttentionPlan,
    attention_tile,
)
from antiphon.kernels.paged_layout import PAGE, PagedLayout
from antiphon.kernels.tiles import Tile

_LOG2_E = 1.4426950408889634  # exp2 is an instruction, exp is two


@triton.jit  # type: ignore[untyped-decorator]
def _widen(x: tl.tensor, DTYPE: tl.constexpr, NATIVE_E4M3: tl.constexpr) -> tl.tensor:
    """Cached keys or values as ``DTYPE``. Bytes are e4m3, converted by hand where the hardware does not know it."""
    if x.dtype == tl.uint8 and NATIVE_E4M3:
        return x.to(tl.float8e4nv, bitcast=True).to(DTYPE)
    if x.dtype == tl.uint8:
        return from_e4m3(x).to(DTYPE)
    return x.to(DTYPE)


@triton.jit  # type: ignore[untyped-decorator]
def _attend(
    # tensors
    best: tl.tensor,  # [BLOCK_M], running maximum of the scores, base 2
    total: tl.tensor,  # [BLOCK_M], running sum of exp2(score - best)
    out: tl.tensor,  # [BLOCK_M, BLOCK_D], the values by the same weights
    q: tl.tensor,  # [BLOCK_M, BLOCK_D]
    positions: tl.tensor,  # [BLOCK_M], the last key each row of scores sees
    key_ptr: tl.tensor,  # [pages, PAGE, kv_heads, WIDTH], at this head
    value_ptr: tl.tensor,
    key_scale_ptr: tl.tensor,  # [pages, PAGE, kv_heads], at this head, or None
    value_scale_ptr: tl.tensor,
    table_ptr: tl.tensor,  # [most pages], at this row
    # scalars
    first_page: int,
    end_page: int,
    context: int,
    scale: float,
    # constexprs
    KV_HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
    PAGE: tl.constexpr,
    NATIVE_E4M3: tl.constexpr,
    MASKED: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Go on from ``first_page`` to ``end_page``. Unless MASKED, every row of scores sees all keys in these pages."""
    tile = tl.arange(0, BLOCK_N)
    lane = tl.arange(0, BLOCK_D)
    offsets = tile[:, None] * (KV_HEADS * WIDTH) + lane[None, :]
    real = (lane < WIDTH)[None, :]
    for start in range(first_page * PAGE, end_page * PAGE, BLOCK_N):
        # 64 bits: a pool has more than 2^31 elements.
        slot = (tl.load(table_ptr + start // PAGE).to(tl.int64) * PAGE + start % PAGE) * KV_HEADS
        key = start + tile
        # Behind a row's last key there may be NaN: its score is replaced, but 0 * NaN would spoil the sum of values.
        keys = tl.load(key_ptr + slot * WIDTH + offsets, mask=real, other=0.0)
        scores = tl.dot(q, tl.trans(_widen(keys, q.dtype, NATIVE_E4M3)), input_precision="ieee") * scale
        if key_scale_ptr is not None:
            scores *= tl.load(key_scale_ptr + slot + tile * KV_HEADS)[None, :]
        if MASKED:
            scores = tl.where(key[None, :] <= positions[:, None], scores, float("-inf"))
        higher = tl.maximum(best, tl.max(scores, axis=1))
        base = higher
        if MASKED:  # a row that has seen no key yet: not the difference of two infinities
            base = tl.where(higher == float("-inf"), 0.0, higher)
        weights = tl.exp2(scores - base[:, None])
        shrink = tl.exp2(best - base)
        best = higher
        total = total * shrink + tl.sum(weights, axis=1)
        inside = real
        if MASKED:
            inside = real & (key < context)[:, None]
        if value_scale_ptr is not None:
            scales = tl.load(value_scale_ptr + slot + tile * KV_HEADS)
            if MASKED:
                scales = tl.where(key < context, scales, 0.0)
            weights *= scales[None, :]
        values = tl.load(value_ptr + slot * WIDTH + offsets, mask=inside, other=0.0)
        values = _widen(values, q.dtype, NATIVE_E4M3)
        out = tl.dot(weights.to(q.dtype), values, out * shrink[:, None], input_precision="ieee")
    return best, total, out


@triton.jit(do_not_specialize=["rows", "table_width", "splits", "least_queries", "end_queries"])  # type: ignore[untyped-decorator]
def _paged_attention_kernel(
    # tensors
    out_ptr: tl.tensor,  # [tokens, heads, WIDTH]
    split_out_ptr: tl.tensor,  # [rows * few, heads, splits, WIDTH], float32; or None: nothing is split
    split_state_ptr: tl.tensor,  # [rows * few, heads, splits, 2], float32: best and total; or None
    q_ptr: tl.tensor,  # [tokens, heads, WIDTH]
    key_ptr: tl.tensor,  # [pages, PAGE, kv_heads, WIDTH]
    value_ptr: tl.tensor,  # [pages, PAGE, kv_heads, WIDTH]
    key_scale_ptr: tl.tensor,  # [pages, PAGE, kv_heads], float32, or None
    value_scale_ptr: tl.tensor,  # [pages, PAGE, kv_heads], float32, or None
    starts_ptr: tl.tensor,  # [rows + 1]
    contexts_ptr: tl.tensor,  # [rows]
    table_ptr: tl.tensor,  # [rows, table_width]
    # scalars
    rows: int,
    table_width: int,
    splits: int,
    least_queries: int,
    end_queries: int,
    scale: float,
    # constexprs
    KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,  # keys at a time: a page, or a part of one
    PAGE: tl.constexpr,
    NATIVE_E4M3: tl.constexpr,  # the hardware converts e4m3
    SPLIT_PAGES: tl.constexpr,  # the least pages of a split; the pages of a segment if SEGMENTED
    ONE_BLOCK: tl.constexpr,  # no row has more queries than a block
    SEGMENTED: tl.constexpr,  # start the running softmax anew every SPLIT_PAGES, as splits of that size do
) -> None:
    BLOCK_Q: tl.constexpr = BLOCK_M // GROUP
    block = tl.program_id(0)
    if ONE_BLOCK:
        row = block
        first = 0
    else:
        # The longest rows are the last, and their last queries see most keys: those blocks begin first.
        block = tl.num_programs(0) - 1 - block
        # Row r has the blocks from starts[r] // BLOCK_Q + r, never fewer than it needs: no table of blocks.
        row = tl.full([], 0, tl.int32)
        end = rows
        while end - row > 1:
            middle = (row + end) // 2
            if tl.load(starts_ptr + middle) // BLOCK_Q + middle <= block:
                row = middle
            else:
                end = middle
        first = (block - tl.load(starts_ptr + row) // BLOCK_Q - row) * BLOCK_Q
    start = tl.load(starts_ptr + row)
    queries = tl.load(starts_ptr + row + 1) - start
    if (first >= queries) | (queries < least_queries) | (queries >= end_queries):
        return
    context = tl.load(contexts_ptr + row)
    last = tl.minimum(first + BLOCK_Q, queries) - 1
    end_page = (context - queries + last) // PAGE + 1
    first_page = 0
    if split_out_ptr is not None:
        split_pages = tl.maximum(tl.cdiv(end_page, splits), SPLIT_PAGES)
        first_page = tl.program_id(2) * split_pages
        if first_page >= end_page:
            return
        end_page = tl.minimum(first_page + split_pages, end_page)

    kv_head = tl.program_id(1)
    index = tl.arange(0, BLOCK_M)
    query = first + index // GROUP
    inside = (index < BLOCK_Q * GROUP) & (query <= last)
    head = (start + query).to(tl.int64) * (KV_HEADS * GROUP) + kv_head * GROUP + index % GROUP
    lane = tl.arange(0, BLOCK_D)
    mask = inside[:, None] & (lane < WIDTH)[None, :]
    q = tl.load(q_ptr + head[:, None] * WIDTH + lane[None, :], mask=mask, other=0.0)
    positions = context - queries + tl.minimum(query, last)

    key_ptr += kv_head * WIDTH
    value_ptr += kv_head * WIDTH
    if key_scale_ptr is not None:
        key_scale_ptr += kv_head
        value_scale_ptr += kv_head
    table_ptr += row.to(tl.int64) * table_width
    best = tl.full([BLOCK_M], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    out = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    if SEGMENTED:
        for page in range(0, end_page, SPLIT_PAGES):
            next_best = tl.full([BLOCK_M], float("-inf"), tl.float32)
            next_total = tl.zeros([BLOCK_M], tl.float32)
            next_out = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
            next_best, next_total, next_out = _attend(
                next_best, next_total, next_out, q, positions, key_ptr, value_ptr, key_scale_ptr, value_scale_ptr,
                table_ptr, page, tl.minimum(page + SPLIT_PAGES, end_page), context, scale,
                KV_HEADS, WIDTH, BLOCK_D, BLOCK_N, PAGE, NATIVE_E4M3, MASKED=True,
            )  # fmt: skip
            best, total, out = join(best, total, out, next_best, next_total, next_out)
    else:
        # Of the pages before this one every query sees all keys.
        full_page = tl.minimum(tl.maximum((context - queries + first + 1) // PAGE, first_page), end_page)
        best, total, out = _attend(
            best, total, out, q, positions, key_ptr, value_ptr, key_scale_ptr, value_scale_ptr,
            table_ptr, first_page, full_page, context, scale,
            KV_HEADS, WIDTH, BLOCK_D, BLOCK_N, PAGE, NATIVE_E4M3, MASKED=False,
        )  # fmt: skip
        best, total, out = _attend(
            best, total, out, q, positions, key_ptr, value_ptr, key_scale_ptr, value_scale_ptr,
            table_ptr, full_page, end_page, context, scale,
            KV_HEADS, WIDTH, BLOCK_D, BLOCK_N, PAGE, NATIVE_E4M3, MASKED=True,
        )  # fmt: skip
    if split_out_ptr is not None:
        kept = row.to(tl.int64) * (end_queries - 1) + query  # the bound on queries is the room a row has
        place = (kept * (KV_HEADS * GROUP) + kv_head * GROUP + index % GROUP) * splits + tl.program_id(2)
        tl.store(split_state_ptr + place * 2, best, mask=inside)
        tl.store(split_state_ptr + place * 2 + 1, total, mask=inside)
        tl.store(split_out_ptr + place[:, None] * WIDTH + lane[None, :], out, mask=mask)
    else:
        out = out / total[:, None]
        tl.store(out_ptr + head[:, None] * WIDTH + lane[None, :], out.to(out_ptr.dtype.element_ty), mask=mask)


def paged_attention_launcher(
    out: torch.Tensor,  # [tokens, heads, width], contiguous, at least one token
    split_out: torch.Tensor | None,  # [rows, few, heads, splits, width], float32, contiguous; None: one split
    split_state: torch.Tensor | None,  # [rows, few, heads, splits, 2], likewise
    q: torch.Tensor,  # [tokens, heads, width], contiguous
    key_pages: torch.Tensor,  # [pages, 64, kv_heads, width], contiguous
    value_pages: torch.Tensor,  # [pages, 64, kv_heads, width], contiguous
    key_scales: torch.Tensor | None,  # [pages, 64, kv_heads], float32, contiguous
    value_scales: torch.Tensor | None,  # [pages, 64, kv_heads], float32, contiguous
    layout: PagedLayout,
    scale: float,
    plan: AttentionPlan,
    batch_invariant: bool,
) -> None:
    """Fill ``out``: each row of the layout in one launch, as ``plan`` says."""
    tokens, heads, width = q.shape
    rows, kv_heads = layout.context_tokens.shape[0], key_pages.shape[2]
    group = heads // kv_heads
    if key_pages.dtype is torch.float8_e4m3fn:
        key_pages, value_pages = key_pages.view(torch.uint8), value_pages.view(torch.uint8)
    # Whether a product and a sum are rounded once or twice must not depend on the code around them.
    fuse = not batch_invariant

    def attend(blocks: int, splits: int, tile: Tile, queries: range, *, one_block: bool) -> None:
        _paged_attention_kernel[blocks, kv_heads, splits](
            out,
            split_out if splits > 1 else None,
            split_state if splits > 1 else None,
            q,
            key_pages,
            value_pages,
            key_scales,
            value_scales,
            layout.query_starts,
            layout.context_tokens,
            layout.page_table,
            rows,
            layout.page_table.shape[1],
            splits,
            queries.start,
            queries.stop,
            scale * _LOG2_E,
            KV_HEADS=kv_heads,
            GROUP=group,
            WIDTH=width,
            BLOCK_D=max(16, triton.next_power_of_2(width)),  # the least depth of a product on a device
            PAGE=PAGE,
            SPLIT_PAGES=plan.split_pages,
            ONE_BLOCK=one_block,
            SEGMENTED=batch_invariant and not one_block,
            enable_fp_fusion=fuse,
            **tile.launch(),
        )

    split, longer = plan.splits > 1, layout.most_queries > plan.few
    if split or not longer:
        attend(rows, plan.splits, plan.small, range(1, plan.few + 1), one_block=True)
    if split_out is not None and split_state is not None:
        join_splits_launcher(out, split_out, split_state, layout, plan.split_pages, fuse)
    if longer:
        blocks = tokens // (plan.large.sizes["BLOCK_M"] // group) + rows
        attend(blocks, 1, plan.large, range(plan.few + 1 if split else 1, tokens + 1), one_block=False)


def _case(name: str, bucket: str, dtype: torch.dtype = torch.bfloat16, *, split: bool = False) -> KernelCase:
    """At the sizes of an 8B model: 32 heads of 128 on 8."""
    pages = {torch.bfloat16: "*bf16", torch.int8: "*i8", torch.float8_e4m3fn: "*u8"}[dtype]
    types = {
        **dict.fromkeys(("out_ptr", "q_ptr"), "*bf16"),
        **dict.fromkeys(("key_ptr", "value_ptr"), pages),
        **dict.fromkeys(("starts_ptr", "contexts_ptr", "table_ptr"), "*i32"),
        **dict.fromkeys(("rows", "table_width", "splits", "least_queries", "end_queries"), "i32"),
        "scale": "fp32",
    }
    absent: list[str] = []
    for names, present in (
        (("split_out_ptr", "split_state_ptr"), split),
        (("key_scale_ptr", "value_scale_ptr"), dtype is not torch.bfloat16),
    ):
        if present:
            types |= dict.fromkeys(names, "*fp32")
        else:
            absent += names
    segmented = name == "invariant"
    return KernelCase(
        name=f"paged_attention.{name}",
        kernel=_paged_attention_kernel,
        types=types,
        constexprs={
            **dict.fromkeys(absent),
            "KV_HEADS": 8,
            "GROUP": 4,
            "WIDTH": 128,
            "BLOCK_D": 128,
            "PAGE": PAGE,
            "SPLIT_PAGES": INVARIANT_SPLIT_PAGES if segmented else LEAST_SPLIT_PAGES,
            "ONE_BLOCK": bucket == "decode" and not segmented,
            "SEGMENTED": segmented,
        },
        tile=lambda arch: attention_tile(bucket, arch, 4, 128, dtype),
        expects_mma=True,
    )


CASES = (
    _case("prompt", "prompt"),
    _case("prompt_int8", "prompt", torch.int8),
    _case("prompt_e4m3", "prompt", torch.float8_e4m3fn),
    _case("decode", "decode"),
    _case("split", "decode", split=True),
    _case("split_int8", "decode", torch.int8, split=True),
    _case("split_e4m3", "decode", torch.float8_e4m3fn, split=True),
    _case("invariant", "decode"),
)
