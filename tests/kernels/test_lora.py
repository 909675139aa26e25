"""Low-rank adapters of many rows: kernels against reference, and the host's cutting into segments."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from antiphon.kernels.lora import SEGMENT, LoraPool, lora_layout, lora_pool
from antiphon.kernels.ops.lora import lora
from antiphon.kernels.reference.lora import lora as lora_reference

RANKS = (8, 16, 3, 33)


def filled(widths: tuple[int, ...], inputs: int, device: torch.device, dtype: torch.dtype) -> LoraPool:
    """Adapters of mixed ranks in slots 0 to 3 of 5; everything that is no adapter's is NaN."""
    pool = lora_pool(slots=5, rank=33, inputs=inputs, widths=widths, dtype=dtype, device=device)
    pool.a.fill_(float("nan"))
    pool.b.fill_(float("nan"))
    for slot, rank in enumerate(RANKS):
        a = torch.randn(len(widths), rank, inputs, device=device) / inputs**0.5
        b = torch.randn(sum(widths), rank, device=device) / rank**0.5
        pool.put(slot, a.to(dtype), b.to(dtype), 0.5 + slot / 4)
    return pool


@pytest.mark.parametrize(
    ("slots", "widths", "inputs"),
    [
        ((0,) * 17 + (-1, 3, 1, 2, -1, 0, 3), (100, 40), 133),
        ((2,), (65,), 300),
        ((3, 1), (17, 5, 130), 40),
    ],
    ids=["mixed", "one-row", "three-slices"],
)
def test_kernel_equals_reference(
    slots: tuple[int, ...],
    widths: tuple[int, ...],
    inputs: int,
    device: torch.device,
    dtype: torch.dtype,
    tolerance: float,
) -> None:
    """Adapters of mixed ranks in one batch, a full segment, rows without an adapter, poison behind each rank."""
    pool = filled(widths, inputs, device, dtype)
    layout = lora_layout(slots, device=device, segments=6)
    x = torch.randn(len(slots), inputs, device=device).to(dtype)
    y = torch.randn(len(slots), sum(widths), device=device).to(dtype)
    wide = LoraPool(a=pool.a.float(), b=pool.b.float(), ranks=pool.ranks, scalings=pool.scalings, widths=pool.widths)
    expected = lora_reference(x.float(), y.float(), layout, wide)
    before = y.clone()
    assert lora(x, y, layout, pool) is y
    torch.testing.assert_close(y.float(), expected, atol=tolerance, rtol=tolerance)
    for row, slot in enumerate(slots):
        assert torch.equal(y[row], before[row]) == (slot == -1)


def test_reference_follows_the_formula() -> None:
    """Each row gets scaling * (x @ A.T) @ B.T of its own adapter, slice by slice."""
    torch.manual_seed(0)
    pool = filled((6, 4), 12, torch.device("cpu"), torch.float32)
    x, y = torch.randn(3, 12), torch.randn(3, 10)
    found = lora_reference(x, y.clone(), lora_layout((1, -1, 0), device="cpu"), pool)
    for row, slot in ((0, 1), (2, 0)):
        rank = RANKS[slot]
        for piece, span in ((0, slice(0, 6)), (1, slice(6, 10))):
            added = pool.scalings[slot] * (pool.b[slot, span, :rank] @ (pool.a[slot, piece, :rank] @ x[row]))
            torch.testing.assert_close(found[row, span], y[row, span] + added)
    assert torch.equal(found[1], y[1])


def test_inputs_are_split_where_segments_are_few(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device with many units the parts are added to the same result."""
    from antiphon.kernels.device import lora as device_lora
    from antiphon.kernels.platform import DeviceFacts

    wide = DeviceFacts(name="wide", arch="unknown", units=132, memory_bytes=0)
    monkeypatch.setattr(device_lora, "facts_for", lambda _: wide)
    pool = filled((20,), 1500, device, torch.float32)
    layout = lora_layout((1, 0, 1), device=device)
    x, y = torch.randn(3, 1500, device=device), torch.zeros(3, 20, device=device)
    assert device_lora.lora_splits(x, layout, pool) > 1
    expected = lora_reference(x, y.clone(), layout, pool)
    torch.testing.assert_close(lora(x, y.clone(), layout, pool), expected, atol=2e-5, rtol=2e-5)
    alone = lora(x[1:2], y[1:2].clone(), lora_layout((0,), device=device), pool, batch_invariant=True)
    assert torch.equal(alone, lora(x, y, layout, pool, batch_invariant=True)[1:2])


def test_an_emptied_batch_changes_nothing(device: torch.device) -> None:
    """Only padding, an empty slot, and no rows at all."""
    pool = filled((20,), 12, device, torch.float32)
    x, y = torch.ones(2, 12, device=device), torch.ones(2, 20, device=device)
    assert torch.equal(lora(x, y, lora_layout((-1, -1), device=device, segments=2), pool), torch.ones_like(y))
    assert torch.equal(lora(x, y, lora_layout((4, 4), device=device), pool), torch.ones_like(y))
    assert lora(x[:0], y[:0], lora_layout((), device=device), pool).shape == (0, 20)


@given(slots=st.lists(st.integers(-1, 4), max_size=60))
def test_segments_hold_every_row_once(slots: list[int]) -> None:
    """A segment has one adapter and 1 to 16 of its rows, in order; rows without one are in none."""
    layout = lora_layout(slots, device="cpu")
    seen = []
    for slot, rows in zip(layout.slots.tolist(), layout.rows.tolist(), strict=True):
        members = [row for row in rows if row >= 0]
        assert members and rows == members + [-1] * (SEGMENT - len(members))
        assert {slots[row] for row in members} == {slot}
        seen += members
    assert sorted(seen) == [row for row, slot in enumerate(slots) if slot >= 0]
    assert len(layout.slots) == sum(-(-slots.count(slot) // SEGMENT) for slot in set(slots) - {-1})


def test_segments_are_padded_to_a_fixed_number() -> None:
    """So that a captured graph fits every batch; a batch beyond it, or an impossible slot, is refused."""
    layout = lora_layout((1, 1), device="cpu", segments=3)
    assert layout.slots.tolist() == [1, -1, -1] and layout.rows.shape == (3, SEGMENT)
    with pytest.raises(ValueError, match="segments: found a batch of 2, expected at most 1"):
        lora_layout((1, 2), device="cpu", segments=1)
    with pytest.raises(ValueError, match="slots: found -2"):
        lora_layout((-2,), device="cpu")


@pytest.mark.parametrize(("rank", "most"), [(1, 8), (8, 8), (9, 16), (33, 64)])
def test_a_pool_is_as_large_as_its_bucket(rank: int, most: int) -> None:
    """Ranks are rounded up to 8, 16, 32 or 64."""
    pool = lora_pool(slots=1, rank=rank, inputs=4, widths=(4,), dtype=torch.float32, device="cpu")
    assert pool.most_rank == most


def test_adapters_that_do_not_fit_are_refused() -> None:
    """A rank above the bucket, a slot that is not there, another shape or dtype."""

    def pool(rank: int = 8, widths: tuple[int, ...] = (3,)) -> LoraPool:
        return lora_pool(slots=2, rank=rank, inputs=4, widths=widths, dtype=torch.float32, device="cpu")

    with pytest.raises(ValueError, match="rank: found 65, expected one from 1 to 64"):
        pool(65)
    with pytest.raises(ValueError, match="widths: found 4 slices, expected 1 to 3"):
        pool(8, (1, 1, 1, 1))
    with pytest.raises(ValueError, match=r"a: found shape \(1, 9, 4\), expected \(1, a rank from 1 to 8, 4\)"):
        pool().put(0, torch.zeros(1, 9, 4), torch.zeros(3, 9), 1.0)
    with pytest.raises(ValueError, match="slot: found 2, expected one from 0 to 1"):
        pool().put(2, torch.zeros(1, 8, 4), torch.zeros(3, 8), 1.0)
    with pytest.raises(ValueError, match=r"b: found shape \(3, 7\), expected \(3, 8\)"):
        pool().put(0, torch.zeros(1, 8, 4), torch.zeros(3, 7), 1.0)
    with pytest.raises(ValueError, match=r"a: found torch\.float16"):
        pool().put(0, torch.zeros(1, 8, 4).half(), torch.zeros(3, 8), 1.0)


def test_wrong_arguments_are_refused() -> None:
    """Shapes, strides, dtypes and indices beyond the batch or the pool, before anything is written."""
    pool = filled((20,), 12, torch.device("cpu"), torch.float32)
    layout = lora_layout((0, 1), device="cpu")
    x, y = torch.zeros(2, 12), torch.zeros(2, 20)
    with pytest.raises(ValueError, match=r"x: found shape \(2, 11\), expected \(2, 12\)"):
        lora(torch.zeros(2, 11), y, layout, pool)
    with pytest.raises(ValueError, match=r"y: found shape \(2, 21\), expected \(2, 20\)"):
        lora(x, torch.zeros(2, 21), layout, pool)
    with pytest.raises(ValueError, match=r"y: found torch\.float16"):
        lora(x, y.half(), layout, pool)
    with pytest.raises(ValueError, match="y: found strides"):
        lora(x, torch.zeros(20, 2).T, layout, pool)
    with pytest.raises(ValueError, match="layout: found rows up to 1, expected a batch of at most 1"):
        lora(x[:1], y[:1], layout, pool)
    with pytest.raises(ValueError, match="layout: found slot 5, expected one from 0 to 4"):
        lora(x, y, lora_layout((0, 5), device="cpu"), pool)


@pytest.mark.gpu
def test_bf16_is_as_exact_as_torch(
    expect_within_twice: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None],
) -> None:
    """On a device: error at most twice that of torch's own bf16 products, one adapter after the other."""
    torch.manual_seed(0)
    device, slots = torch.device("cuda"), tuple(row % 4 for row in range(70))
    pool = filled((512, 128, 128), 1024, device, torch.bfloat16)
    x = torch.randn(70, 1024, device=device).bfloat16()
    exact, torch_bf16 = torch.zeros(70, 768, device=device), torch.zeros(70, 768, device=device).bfloat16()
    for row, slot in enumerate(slots):
        rank = RANKS[slot]
        for piece, span in enumerate((slice(0, 512), slice(512, 640), slice(640, 768))):
            a, b = pool.a[slot, piece, :rank], pool.b[slot, span, :rank]
            exact[row, span] = pool.scalings[slot] * (b.float() @ (a.float() @ x[row].float()))
            torch_bf16[row, span] = pool.scalings[slot].bfloat16() * (b @ (a @ x[row]))
    y = lora(x, torch.zeros_like(torch_bf16), lora_layout(slots, device=device), pool)
    expect_within_twice(y, torch_bf16, exact)
