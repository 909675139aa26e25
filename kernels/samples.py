"""Inputs in the shapes that engines run, for whoever measures ops: tuning and benchmarks. Values are random."""

from collections.abc import Sequence

import torch

from antiphon.kernels.draws import Draws
from antiphon.kernels.lora import LoraLayout, LoraPool, lora_layout, lora_pool
from antiphon.kernels.packed import (
    PackedKind,
    PackedLinear,
    pack_q4,
    pack_q8,
    pack_rows_fp8,
    pack_rows_int8,
    quantise_rows,
)
from antiphon.kernels.paged_layout import PAGE, PagedLayout

GROUP = 32  # weights of a group


def numbers(*shape: int, device: torch.device, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    """Normal ones."""
    return torch.randn(shape, device=device, dtype=dtype)


def packed_weight(kind: PackedKind, width: int, depth: int, device: torch.device) -> PackedLinear:
    """A quantised weight [width, depth]."""
    groups = (width, depth // GROUP)
    scales = torch.rand(groups, device=device, dtype=torch.float16) / 100
    if kind is PackedKind.Q4:
        codes = torch.randint(0, 16, (width, depth), device=device, dtype=torch.uint8)
        return pack_q4(codes, scales, -8 * scales)
    if kind is PackedKind.Q8:
        return pack_q8(torch.randint(-128, 128, (width, depth), device=device, dtype=torch.int8), scales)
    weight = numbers(width, depth, device=device)
    if kind is PackedKind.INT8:
        return pack_rows_int8(*quantise_rows(weight, torch.int8))
    return pack_rows_fp8(*quantise_rows(weight, torch.float8_e4m3fn))


def layout_of(rows: Sequence[tuple[int, int]], device: torch.device) -> tuple[PagedLayout, int]:
    """Rows of (new tokens, context with them), their pages strewn over a pool; and how many pages the pool needs."""
    counts = [-(-context // PAGE) for _, context in rows]
    order = torch.randperm(sum(counts)).tolist()
    tables = [[order.pop() for _ in range(count)] for count in counts]
    starts = [0]
    slots = []
    for (tokens, context), pages in zip(rows, tables, strict=True):
        starts.append(starts[-1] + tokens)
        slots += [pages[at // PAGE] * PAGE + at % PAGE for at in range(context - tokens, context)]
    table = [pages + [0] * (max(counts) - len(pages)) for pages in tables]
    layout = PagedLayout(
        query_starts=torch.tensor(starts, dtype=torch.int32, device=device),
        context_tokens=torch.tensor([context for _, context in rows], dtype=torch.int32, device=device),
        page_table=torch.tensor(table, dtype=torch.int32, device=device),
        slots=torch.tensor(slots, dtype=torch.int64, device=device),
        most_queries=max(tokens for tokens, _ in rows),
        most_context=max(context for _, context in rows),
    )
    return layout, sum(counts)


def adapters(
    rows: int, distinct: int, pool: int, inputs: int, widths: Sequence[int], device: torch.device, *, rank: int = 16
) -> tuple[LoraLayout, LoraPool]:
    """A batch whose rows take turns among ``distinct`` adapters, spread over a pool of ``pool`` of them."""
    found = lora_pool(slots=pool, rank=rank, inputs=inputs, widths=widths, dtype=torch.bfloat16, device=device)
    a = numbers(len(widths), rank, inputs, device=device)
    b = numbers(sum(widths), rank, device=device)
    for slot in range(pool):
        found.put(slot, a, b, 1.0)
    return lora_layout([row % distinct * (pool // distinct) for row in range(rows)], device=device), found


def draws(rows: int, device: torch.device) -> Draws:
    """The settings of a chat: temperature, top-k and top-p, all in force."""
    return Draws(
        temperature=torch.full((rows,), 0.8, device=device),
        top_k=torch.full((rows,), 50, dtype=torch.int32, device=device),
        top_p=torch.full((rows,), 0.95, device=device),
        min_p=torch.full((rows,), 0.0, device=device),
        seed=torch.arange(rows, dtype=torch.int64, device=device),
        position=torch.zeros(rows, dtype=torch.int32, device=device),
    )
