"""Paged attention: kernel against reference, and reference against the definition."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch

from antiphon.kernels.device.paged_attention_tiles import plan_attention
from antiphon.kernels.ops import paged_attention
from antiphon.kernels.paged_layout import PAGE, PagedLayout
from antiphon.kernels.platform import DeviceFacts
from antiphon.kernels.reference.paged_attention import paged_attention as paged_attention_reference

CPU = torch.device("cpu")
POOL = 40
NO_PAGE = 2**30  # behind a row's last page: to read there would end the process


def paged(rows: Sequence[tuple[int, int]], device: torch.device, *, scattered: bool = True) -> PagedLayout:
    """A layout of (tokens, context) rows in pages of their own; the table holds rubbish behind each row's last."""
    counts = [-(-context // PAGE) for _, context in rows]
    free = (torch.randperm(POOL) if scattered else torch.arange(POOL)).tolist()
    table = torch.full((len(rows), max(counts) + 2), NO_PAGE, dtype=torch.int32)
    slots = []
    for index, (tokens, context) in enumerate(rows):
        pages, free = free[: counts[index]], free[counts[index] :]
        table[index, : len(pages)] = torch.tensor(pages)
        slots += [pages[place // PAGE] * PAGE + place % PAGE for place in range(context - tokens, context)]
    starts = [sum(tokens for tokens, _ in rows[:index]) for index in range(len(rows) + 1)]
    return PagedLayout(
        query_starts=torch.tensor(starts, dtype=torch.int32, device=device),
        context_tokens=torch.tensor([context for _, context in rows], dtype=torch.int32, device=device),
        page_table=table.to(device),
        slots=torch.tensor(slots, device=device),
        most_queries=max(tokens for tokens, _ in rows),
        most_context=max(context for _, context in rows),
    )


def pools(layout: PagedLayout, kv_heads: int, width: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values in pages: NaN wherever no row of ``layout`` has a key."""
    used = torch.zeros(POOL, PAGE, dtype=torch.bool)
    for row in layout.rows:
        places = torch.arange(row.context)
        used[torch.tensor(row.pages)[places // PAGE], places % PAGE] = True

    def pool() -> torch.Tensor:
        filled = torch.randn(POOL, PAGE, kv_heads, width).masked_fill(~used[..., None, None], math.nan)
        return filled.to(layout.slots.device, dtype)

    return pool(), pool()


def queries(layout: PagedLayout, heads: int, width: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A query for each token and head."""
    return torch.randn(layout.slots.shape[0], heads, width).to(layout.slots.device, dtype)


def defined(q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, layout: PagedLayout) -> torch.Tensor:
    """Attention as its definition says, query by query, in float64."""
    out = torch.empty(q.shape, dtype=torch.float64)
    group = q.shape[1] // keys.shape[2]
    for row in layout.rows:
        k, v = (
            pages[list(row.pages)].flatten(0, 1)[: row.context].double().repeat_interleave(group, 1)
            for pages in (keys, values)
        )
        for index in range(row.tokens):
            seen = row.context - row.tokens + index + 1
            scores = torch.einsum("hd,khd->hk", q[row.first + index].double(), k[:seen]) * q.shape[2] ** -0.5
            out[row.first + index] = torch.einsum("hk,khd->hd", scores.softmax(-1), v[:seen])
    return out


SHAPES = {  # rows of (tokens, context), heads, key-value heads, width
    "one token": ([(1, 1)], 4, 4, 64),
    "mixed": ([(1, 130), (1, 63), (21, 150), (40, 40)], 9, 3, 64),  # two decodes, a chunk that goes on, a prompt
    "one key head": ([(1, 65), (30, 127), (2, 64)], 8, 1, 96),
    "no group, page edges": ([(1, 62), (2, 63), (1, 64), (65, 65), (3, 128)], 2, 2, 32),
    "a prompt of two pages": ([(127, 127)], 2, 1, 128),
    "wide heads": ([(3, 129), (1, 2)], 2, 1, 256),
    "tiny heads": ([(1, 65)], 4, 2, 8),
    "odd width": ([(5, 66), (1, 127)], 2, 1, 80),
    "split": ([(1, 1500)], 4, 1, 64),
    "split drafts and a chunk": ([(2, 700), (40, 130)], 6, 1, 64),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_kernel_equals_reference(shape: str, device: torch.device, dtype: torch.dtype, tolerance: float) -> None:
    """Any mix of rows over scattered pages; poison behind a row's last key and in every other page is not read."""
    rows, heads, kv_heads, width = SHAPES[shape]
    layout = paged(rows, device)
    keys, values = pools(layout, kv_heads, width, dtype)
    q = queries(layout, heads, width, dtype)
    expected = paged_attention_reference(q.float(), keys.float(), values.float(), layout)
    found = paged_attention(q, keys, values, layout)
    torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=tolerance)


def test_rows_share_pages_and_scale_is_taken(device: torch.device) -> None:
    """Two rows with one prefix read the same pages, each to its own end; a padding row of no tokens is left out."""
    layout = paged([(2, 100), (3, 120), (1, 70)], device)
    layout.page_table[1, 0] = layout.page_table[2, 0] = layout.page_table[0, 0]
    padded = replace(
        layout,
        query_starts=torch.cat((layout.query_starts, layout.query_starts[-1:])),
        context_tokens=torch.cat((layout.context_tokens, torch.zeros_like(layout.context_tokens[:1]))),
        page_table=torch.cat((layout.page_table, torch.zeros_like(layout.page_table[:1]))),
    )
    keys, values = pools(layout, 1, 64, torch.float32)
    q = queries(layout, 2, 64)
    expected = paged_attention_reference(q, keys, values, layout, scale=0.3)
    torch.testing.assert_close(paged_attention(q, keys, values, padded, scale=0.3), expected, atol=2e-5, rtol=2e-5)
    assert not torch.allclose(expected, paged_attention_reference(q, keys, values, layout))


@pytest.mark.usefixtures("rows_alike")
def test_batch_invariant_bits_do_not_depend_on_company_or_chunks(device: torch.device) -> None:
    """A token has the same bits as a decode, among drafts, in a chunk, and in a chunk beside longer rows."""
    tokens, context = 20, 600  # two segments
    whole = paged([(tokens, context)], device)
    keys, values = pools(whole, 1, 64, torch.float32)
    values.nan_to_num_(0.0)
    keys.nan_to_num_(0.0)
    q = queries(whole, 4, 64)
    table = whole.page_table
    wanted = paged_attention(q, keys, values, whole, batch_invariant=True)
    reference = paged_attention_reference(q, keys, values, whole)
    torch.testing.assert_close(wanted, reference, atol=2e-5, rtol=2e-5)

    def cut(rows: list[tuple[int, int]]) -> torch.Tensor:
        taken = [q[end - (context - tokens) - count : end - (context - tokens)] for count, end in rows]
        cut = replace(paged(rows, device), page_table=table.repeat(len(rows), 1))
        found = paged_attention(torch.cat(taken), keys, values, cut, batch_invariant=True)
        return found[-rows[-1][0] :]

    assert torch.equal(cut([(1, 600)])[0], wanted[19])
    assert torch.equal(cut([(3, 593)]), wanted[10:13])
    assert torch.equal(cut([(1, 581), (9, 590), (1, 600)])[0], wanted[19])
    assert torch.equal(cut([(1, 600), (13, 598)]), wanted[5:18])


def test_the_plan_fills_the_device_and_keeps_to_what_there_is_to_split() -> None:
    """Few rows of long context are split over all units; short or many ones are not; invariant splits have one size."""
    facts = DeviceFacts(name="H200", arch="sm_90", units=132, memory_bytes=0)
    table = paged([(1, 64)], CPU)

    def splits(rows: int, context: int, *, invariant: bool = False) -> int:
        layout = replace(table, context_tokens=table.context_tokens.repeat(rows), most_context=context)
        return plan_attention(32, 8, 128, torch.bfloat16, layout, facts, invariant).splits

    assert splits(1, 131_072) == 66
    assert splits(64, 131_072) == 2
    assert splits(256, 131_072) == 1
    assert splits(1, 1024) == 4
    assert splits(1, 64) == 1
    assert splits(256, 1025, invariant=True) == splits(1, 1025, invariant=True) == 3


@pytest.mark.parametrize("scattered", [True, False], ids=["scattered", "consecutive"])
@pytest.mark.parametrize("shape", ["mixed", "no group, page edges", "odd width"])
def test_reference_follows_the_definition(shape: str, scattered: bool) -> None:
    """Query i of n sees keys up to c - n + i; heads share keys in order; consecutive pages are read in place."""
    rows, heads, kv_heads, width = SHAPES[shape]
    layout = paged(rows, CPU, scattered=scattered)
    keys, values = pools(layout, kv_heads, width, torch.float32)
    q = queries(layout, heads, width)
    found = paged_attention(q, keys, values, layout)
    torch.testing.assert_close(found.double(), defined(q, keys, values, layout), atol=1e-5, rtol=1e-5)


def test_no_row_and_no_token() -> None:
    """An empty step gives an empty result."""
    layout = paged([(1, 1)], CPU)
    empty = replace(
        layout,
        query_starts=layout.query_starts[:1],
        context_tokens=layout.context_tokens[:0],
        page_table=layout.page_table[:0],
        slots=layout.slots[:0],
        most_queries=0,
        most_context=0,
    )
    keys, values = pools(layout, 1, 64, torch.float32)
    assert paged_attention(torch.empty(0, 2, 64), keys, values, empty).shape == (0, 2, 64)


def test_wrong_arguments_are_refused() -> None:
    """Before anything runs, with what was found and what was expected."""
    layout = paged([(1, 70)], CPU)
    keys, values = pools(layout, 2, 64, torch.float32)
    q, scales = queries(layout, 4, 64), torch.ones(POOL, PAGE, 2)
    narrow = keys.to(torch.int8)
    calls: dict[str, Callable[[], object]] = {
        r"q: found dtype torch.int32": lambda: paged_attention(q.int(), keys, values, layout),
        r"found q of shape \(4, 64\)": lambda: paged_attention(q[0], keys, values, layout),
        r"heads of width 512, expected 1 to 256": lambda: paged_attention(q.repeat(1, 1, 8), keys, values, layout),
        r"found 3 heads for 2 key-value heads": lambda: paged_attention(q[:, :3], keys, values, layout),
        r"q: found strides": lambda: paged_attention(q.repeat(1, 1, 2)[..., ::2], keys, values, layout),
        r"key_pages: found strides": lambda: paged_attention(
            q, keys.transpose(0, 1).contiguous().transpose(0, 1), values, layout
        ),
        r"value_pages: found shape \(40, 32": lambda: paged_attention(q, keys, values[:, :32], layout),
        r"key_pages: found shape .*expected \(40, 64, 2, 32\)": lambda: paged_attention(
            q[..., :32].contiguous(), keys, values, layout
        ),
        r"value_pages: found torch.float16": lambda: paged_attention(q, keys, values.half(), layout),
        r"key_scales: found none, expected scales": lambda: paged_attention(q, narrow, narrow, layout),
        r"key_scales: found scales, expected none": lambda: paged_attention(q, keys, values, layout, key_scales=scales),
        r"value_scales: found shape": lambda: paged_attention(
            q, narrow, narrow, layout, key_scales=scales, value_scales=scales[:1]
        ),
        r"page_table: found room for 64 keys, expected 70": lambda: paged_attention(
            q, keys, values, replace(layout, page_table=layout.page_table[:, :1].contiguous())
        ),
        r"context_tokens: found torch.int64": lambda: paged_attention(
            q, keys, values, replace(layout, context_tokens=layout.context_tokens.long())
        ),
        r"query_starts: found shape \(1,\), expected \(2,\)": lambda: paged_attention(
            q, keys, values, replace(layout, query_starts=layout.query_starts[:1])
        ),
        r"page_table: found -1, expected 0 to 39": lambda: paged_attention(
            q, keys, values, replace(layout, page_table=layout.page_table.clone().fill_(-1))
        ),
    }
    for message, call in calls.items():
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(ValueError, match="key_pages: found device cpu, expected meta"):
        paged_attention(q.to("meta"), narrow, narrow, layout, key_scales=scales, value_scales=scales)
    with pytest.raises(ValueError, match=r"found torch.float32 on cpu, expected torch.float32 on meta"):
        paged_attention(q.to("meta"), keys, values, layout)


@pytest.mark.gpu
@pytest.mark.parametrize("batch_invariant", [False, True], ids=["", "invariant"])
@pytest.mark.parametrize("shape", SHAPES)
def test_bf16_on_a_device(
    shape: str,
    batch_invariant: bool,
    expect_within_twice: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None],
) -> None:
    """No further from float32 than twice what torch's own attention in bf16 is."""
    torch.manual_seed(0)
    rows, heads, kv_heads, width = SHAPES[shape]
    layout = paged(rows, torch.device("cuda"))
    keys, values = pools(layout, kv_heads, width, torch.bfloat16)
    q = queries(layout, heads, width, torch.bfloat16)
    exact = paged_attention_reference(q.float(), keys.float(), values.float(), layout)
    own = paged_attention_reference(q, keys, values, layout)
    expect_within_twice(paged_attention(q, keys, values, layout, batch_invariant=batch_invariant), own, exact)


@pytest.mark.gpu
def test_a_captured_decode_follows_its_layout() -> None:
    """Launch sizes come from the host alone: a graph that was captured at one length is right at another."""
    torch.manual_seed(0)
    layout = paged([(1, 1500), (1, 40)], torch.device("cuda"))
    keys, values = pools(layout, 2, 128, torch.bfloat16)
    q = queries(layout, 8, 128, torch.bfloat16)
    paged_attention(q, keys, values, layout)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = paged_attention(q, keys, values, layout)
    layout.context_tokens.copy_(torch.tensor([900, 39], dtype=torch.int32))
    graph.replay()
    shorter = replace(layout, most_context=1500)  # a layout of its own: what the host knows of the rows is kept
    torch.testing.assert_close(out, paged_attention_reference(q, keys, values, shorter), atol=2e-2, rtol=2e-2)
