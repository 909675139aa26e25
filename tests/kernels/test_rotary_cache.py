"""Norms, rotation and cache write in one launch: kernel against reference."""

from collections.abc import Callable
from functools import partial

import pytest
import torch

from antiphon.kernels.ops import rms_norm, rotary, rotary_cache
from antiphon.kernels.paged_layout import PAGE, PagedLayout
from antiphon.kernels.reference.rotary_cache import rotary_cache as rotary_cache_reference
from antiphon.kernels.rotation import Rotation

SLOTS = (0, 130, 63, -1, 64)  # of five tokens: page ends, page starts, one of padding


def layout_of(slots: tuple[int, ...], device: torch.device | str = "cpu") -> PagedLayout:
    """One row of that many tokens; only the slots matter here."""
    return PagedLayout(
        query_starts=torch.tensor([0, len(slots)], dtype=torch.int32, device=device),
        context_tokens=torch.tensor([len(slots)], dtype=torch.int32, device=device),
        page_table=torch.zeros(1, 1, dtype=torch.int32, device=device),
        slots=torch.tensor(slots, dtype=torch.int64, device=device),
        most_queries=len(slots),
        most_context=len(slots),
    )


def tables(tokens: int, half: int, device: torch.device | str) -> Rotation:
    """Arbitrary angles."""
    angles = torch.randn(tokens, half, device=device) * 3
    return Rotation(angles.cos(), angles.sin())


def pools(kv_heads: int, width: int, device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of three pages, poisoned: whatever is not written stays NaN."""
    keys = torch.full((3, PAGE, kv_heads, width), torch.nan, device=device, dtype=dtype)
    return keys, keys.clone()


@pytest.mark.parametrize("norm", [False, True], ids=["plain", "norm"])
@pytest.mark.parametrize(("heads", "kv_heads", "width"), [(9, 3, 64), (2, 1, 80)])
def test_kernel_equals_reference(
    heads: int, kv_heads: int, width: int, norm: bool, device: torch.device, dtype: torch.dtype, tolerance: float
) -> None:
    """Queries come back turned, keys and values lie in their slots, and nothing else of the pool was touched."""
    wide = torch.randn(len(SLOTS), (heads + 2 * kv_heads) * width + 8, device=device, dtype=dtype)
    qkv = wide[:, :-8]
    turn = tables(len(SLOTS), width // 2, device)
    mine = pools(kv_heads, width, device, dtype)
    layout = layout_of(SLOTS, device)
    q_norm, k_norm = (torch.randn(width, device=device, dtype=dtype) if norm else None for _ in range(2))
    q = rotary_cache(qkv, turn, *mine, layout, heads=heads, kv_heads=kv_heads, q_norm=q_norm, k_norm=k_norm)
    exact = pools(kv_heads, width, device, torch.float32)
    expected = rotary_cache_reference(
        qkv.float(),
        turn,
        *exact,
        layout,
        heads=heads,
        kv_heads=kv_heads,
        q_norm=None if q_norm is None else q_norm.float(),
        k_norm=None if k_norm is None else k_norm.float(),
    )
    torch.testing.assert_close(q.float(), expected, atol=tolerance, rtol=tolerance)
    for found, wanted in zip(mine, exact, strict=True):
        torch.testing.assert_close(found.float(), wanted, atol=tolerance, rtol=tolerance, equal_nan=True)
    assert int(mine[0].isfinite().all(-1).all(-1).sum()) == 4  # the token of padding has written nothing


def test_reference_is_its_parts() -> None:
    """Norm, rotation and an indexed write, one after another, give the same."""
    heads, kv_heads, width = 4, 2, 16
    qkv = torch.randn(3, (heads + 2 * kv_heads) * width)
    turn = tables(3, width // 2, "cpu")
    q_norm, k_norm = torch.randn(width), torch.randn(width)
    keys, values = pools(kv_heads, width, torch.device("cpu"), torch.float32)
    found = rotary_cache(
        qkv,
        turn,
        keys,
        values,
        layout_of((5, 70, 191)),
        heads=heads,
        kv_heads=kv_heads,
        q_norm=q_norm,
        k_norm=k_norm,
        eps=1e-5,
    )
    parts = qkv.view(3, -1, width)
    q, k, v = parts[:, :heads], parts[:, heads : heads + kv_heads], parts[:, heads + kv_heads :]
    torch.testing.assert_close(found, rotary(rms_norm(q, q_norm, 1e-5), turn))
    for page, offset, token in ((0, 5, 0), (1, 6, 1), (2, 63, 2)):
        torch.testing.assert_close(keys[page, offset], rotary(rms_norm(k, k_norm, 1e-5), turn)[token])
        assert torch.equal(values[page, offset], v[token])


def test_no_token_writes_nothing(device: torch.device) -> None:
    """An empty step is legal."""
    keys, values = pools(1, 8, device, torch.float32)
    qkv, table = torch.empty(0, 3 * 8, device=device), torch.empty(0, 4, device=device)
    q = rotary_cache(qkv, Rotation(table, table), keys, values, layout_of((), device), heads=1, kv_heads=1)
    assert q.shape == (0, 1, 8)
    assert keys.isnan().all()


@pytest.mark.gpu
def test_bf16_on_a_device(expect_within_twice: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]) -> None:
    """At most twice torch's own error, in the shape of an 8B model, with cells beyond 2^31 elements."""
    heads, kv_heads, width, pages = 32, 8, 128, 33_000
    qkv = torch.randn(65, (heads + 2 * kv_heads) * width, device="cuda", dtype=torch.bfloat16)
    turn = tables(65, width // 2, "cuda")
    slots = tuple(pages * PAGE - 1 - 7 * token for token in range(65))
    layout = layout_of(slots, "cuda")
    keys = torch.zeros(pages, PAGE, kv_heads, width, device="cuda", dtype=torch.bfloat16)
    q = rotary_cache(qkv, turn, keys, torch.zeros_like(keys), layout, heads=heads, kv_heads=kv_heads)
    turned = rotary(qkv.view(65, -1, width)[:, : heads + kv_heads], turn)
    exact = rotary(qkv.float().view(65, -1, width)[:, : heads + kv_heads], turn)
    expect_within_twice(q, turned[:, :heads], exact[:, :heads])
    written = keys.view(-1, kv_heads, width)[layout.slots]
    expect_within_twice(written, turned[:, heads:], exact[:, heads:])


def test_wrong_arguments_are_refused() -> None:
    """Slots outside the pool, shapes, strides, dtypes and half a pair of norms are named before anything is written."""
    keys, values = pools(1, 8, torch.device("cpu"), torch.float32)
    qkv, table = torch.zeros(1, 24), torch.zeros(1, 4)
    call = partial(rotary_cache, heads=1, kv_heads=1)
    with pytest.raises(ValueError, match=r"slots: found 192, expected -1 to 191: the pool has 3 pages"):
        call(qkv, Rotation(table, table), keys, values, layout_of((192,)))
    with pytest.raises(ValueError, match=r"slots: found -2"):
        call(qkv, Rotation(table, table), keys, values, layout_of((-2,)))
    layout = layout_of((0,))
    with pytest.raises(ValueError, match=r"qkv: found shape \(1, 16\), expected \(1, 24\)"):
        call(qkv[:, :16], Rotation(table, table), keys, values, layout)
    with pytest.raises(ValueError, match=r"value_pages: found shape"):
        call(qkv, Rotation(table, table), keys, values[:2], layout)
    with pytest.raises(ValueError, match=r"key_pages: found torch\.float16"):
        call(qkv, Rotation(table, table), keys.half(), values, layout)
    with pytest.raises(ValueError, match=r"value_pages: found strides"):
        call(qkv, Rotation(table, table), keys, torch.zeros(3, PAGE, 1, 16)[..., ::2], layout)
    with pytest.raises(ValueError, match=r"sin: found dtype torch\.float16"):
        call(qkv, Rotation(table, table.half()), keys, values, layout)
    with pytest.raises(ValueError, match="expected both or neither"):
        call(qkv, Rotation(table, table), keys, values, layout, q_norm=torch.ones(8))
    assert keys.isnan().all()
