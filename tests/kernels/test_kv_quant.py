"""An 8-bit cache: what is written, and attention on it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest
import torch

from antiphon.kernels.ops import paged_attention, write_quantised_kv
from antiphon.kernels.paged_layout import PAGE, PagedLayout
from antiphon.kernels.reference.kv_quant import write_quantised_kv as write_quantised_kv_reference
from antiphon.kernels.reference.paged_attention import paged_attention as paged_attention_reference

PAGES = 6
E4M3 = torch.float8_e4m3fn


@pytest.fixture(params=[torch.int8, E4M3], ids=["int8", "e4m3"])
def narrow(request: pytest.FixtureRequest) -> torch.dtype:
    """The dtype of the pages."""
    found: torch.dtype = request.param
    return found


class Pools(NamedTuple):
    """An 8-bit cache."""

    key_pages: torch.Tensor
    value_pages: torch.Tensor
    key_scales: torch.Tensor
    value_scales: torch.Tensor

    def write(self, new: Sequence[torch.Tensor], slots: torch.Tensor) -> None:
        """Through the op."""
        write_quantised_kv(new[0], new[1], *self, slots)

    def attend(self, q: torch.Tensor, layout: PagedLayout, attention: Callable[..., torch.Tensor]) -> torch.Tensor:
        """By the op or the reference."""
        return attention(
            q,
            self.key_pages,
            self.value_pages,
            layout,
            key_scales=self.key_scales,
            value_scales=self.value_scales,
        )


def pools(kv_heads: int, width: int, narrow: torch.dtype, device: torch.device) -> Pools:
    """As an engine has them before its first token: full of anything."""
    pages = [torch.randint(0, 255, (PAGES, PAGE, kv_heads, width), dtype=torch.uint8) for _ in range(2)]
    scales = [torch.full((PAGES, PAGE, kv_heads), torch.nan, device=device) for _ in range(2)]
    return Pools(pages[0].view(narrow).to(device), pages[1].view(narrow).to(device), scales[0], scales[1])


def test_kernel_writes_what_the_reference_writes(narrow: torch.dtype, device: torch.device, dtype: torch.dtype) -> None:
    """From strided slices, to scattered slots, a row of zeros too; padding and every other slot stay as they are."""
    tokens, kv_heads, width = 5, 3, 80
    fused = torch.randn(tokens, 4 * kv_heads, width).to(device, dtype)
    fused[2] = 0
    keys, values = fused[:, kv_heads : 2 * kv_heads], fused[:, 2 * kv_heads : 3 * kv_heads]
    slots = torch.tensor([64, 3, -1, 383, 2], device=device)
    found = pools(kv_heads, width, narrow, device)
    expected = Pools(*(each.clone() for each in found))
    found.write((keys, values), slots)
    write_quantised_kv_reference(keys, values, *expected, slots)
    for scales, wanted in zip(found[2:], expected[2:], strict=True):
        torch.testing.assert_close(scales, wanted, atol=0, rtol=1e-6, equal_nan=True)
    for pages, wanted in zip(found[:2], expected[:2], strict=True):
        apart = (pages.view(torch.int8).int() - wanted.view(torch.int8).int()).abs()
        # A quotient on the edge between two codes may fall to either on a device, whose division is not exact.
        assert apart.max() <= 1
        assert apart.sum() <= 2


def test_a_written_row_comes_back(narrow: torch.dtype) -> None:
    """Codes times scale are within half a step of what was written, for each head by its own largest magnitude."""
    keys, values = torch.randn(4, 2, 64) * torch.tensor([0.01, 100.0])[None, :, None], torch.zeros(4, 2, 64)
    cache, slots = pools(2, 64, narrow, torch.device("cpu")), torch.arange(4) + 70
    cache.write((keys, values), slots)
    back = cache.key_pages.float().flatten(0, 1)[slots] * cache.key_scales.flatten(0, 1)[slots][..., None]
    largest = keys.abs().amax(-1, keepdim=True)
    step = largest / 127 if narrow is torch.int8 else (keys.abs() / 8).clamp(min=2e-5 * largest)
    assert ((back - keys).abs() <= step * 0.51).all()
    assert (cache.value_pages.float().flatten(0, 1)[slots] == 0).all()


def layout_of(tokens: int, context: int, device: torch.device) -> PagedLayout:
    """One row with rubbish behind its pages, and one decode that shares the first of them."""
    table = torch.tensor([[4, 1, 2**30], [4, 2**30, 2**30]], dtype=torch.int32)
    return PagedLayout(
        query_starts=torch.tensor([0, tokens, tokens + 1], dtype=torch.int32, device=device),
        context_tokens=torch.tensor([context, 40], dtype=torch.int32, device=device),
        page_table=table.to(device),
        slots=torch.zeros(tokens + 1, dtype=torch.int64, device=device),
        most_queries=tokens,
        most_context=context,
    )


def cache_of(context: int, narrow: torch.dtype, dtype: torch.dtype, device: torch.device) -> Pools:
    """Random keys and values of the first row of ``layout_of``, written."""
    cache = pools(1, 64, narrow, device)
    slots = torch.cat([torch.arange(PAGE) + page * PAGE for page in (4, 1)])[:context].to(device)
    cache.write([torch.randn(context, 1, 64).to(device, dtype) for _ in range(2)], slots)
    return cache


@pytest.mark.parametrize("tokens", [1, 40])
def test_attention_reads_a_quantised_cache(
    tokens: int, narrow: torch.dtype, device: torch.device, dtype: torch.dtype, tolerance: float
) -> None:
    """As if the pages held the numbers that their codes and scales stand for; unwritten slots are not read."""
    layout, cache = layout_of(tokens, 70, device), cache_of(70, narrow, dtype, device)
    q = torch.randn(tokens + 1, 4, 64).to(device, dtype)
    expected = paged_attention_reference(
        q.float(),
        cache.key_pages.float() * cache.key_scales[..., None],
        cache.value_pages.float() * cache.value_scales[..., None],
        layout,
    )
    found = cache.attend(q, layout, paged_attention)
    torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=tolerance)
    if dtype is torch.float32:
        torch.testing.assert_close(cache.attend(q, layout, paged_attention_reference), expected, atol=1e-5, rtol=1e-5)


def test_wrong_arguments_are_refused() -> None:
    """Before anything runs, with what was found and what was expected."""
    cache = pools(2, 64, torch.int8, torch.device("cpu"))
    new, slots = torch.randn(3, 2, 64), torch.arange(3)

    def write(**other: torch.Tensor) -> None:
        write_quantised_kv(**{"keys": new, "values": new, **cache._asdict(), "slots": slots, **other})

    calls: dict[str, Callable[[], None]] = {
        r"found torch.float32, expected torch.int8 or torch.float8_e4m3fn": lambda: write(
            key_pages=cache.key_pages.float()
        ),
        r"value_pages: found torch.float8_e4m3fn": lambda: write(value_pages=cache.value_pages.view(E4M3)),
        r"found keys of shape \(3, 128\)": lambda: write(keys=new.view(3, 128)),
        r"values: found shape \(2, 2, 64\), expected \(3, 2, 64\)": lambda: write(values=new[:2]),
        r"keys: found strides": lambda: write(keys=torch.randn(3, 2, 128)[..., ::2]),
        r"key_pages: found shape": lambda: write(key_pages=cache.key_pages[:, :32]),
        r"key_scales: found shape": lambda: write(key_scales=cache.key_scales[..., :1]),
        r"slots: found torch.int32": lambda: write(slots=slots.int()),
        r"slots: found 384, expected -1 to 383": lambda: write(slots=slots + 382),
        r"slots: found -2, expected -1 to 383": lambda: write(slots=slots - 2),
    }
    for message, call in calls.items():
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.gpu
def test_bf16_on_a_device(
    narrow: torch.dtype, expect_within_twice: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]
) -> None:
    """No further from float32 on the same codes than twice what torch's own attention in bf16 is."""
    torch.manual_seed(0)
    device = torch.device("cuda")
    layout, cache = layout_of(40, 70, device), cache_of(70, narrow, torch.bfloat16, device)
    q = torch.randn(41, 4, 64).to(device, torch.bfloat16)
    exact = cache.attend(q.float(), layout, paged_attention_reference)
    own = cache.attend(q, layout, paged_attention_reference)
    expect_within_twice(cache.attend(q, layout, paged_attention), own, exact)
