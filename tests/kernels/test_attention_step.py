"""A step prepared once for all layers, against the ops it stands for."""

from collections.abc import Sequence

import pytest
import torch

from antiphon.kernels.ops import attention_step, paged_attention, rotary_cache
from antiphon.kernels.paged_layout import PAGE, PagedLayout
from antiphon.kernels.rotation import Rotation

LAYERS, POOL, HEADS, KV_HEADS, WIDTH = 2, 48, 4, 2, 16
STEPS = {  # rows of (tokens, context)
    "one token": [(1, 70)],
    "a long context": [(1, 600)],
    "a batch": [(1, 70), (1, 66), (1, 3)],
    "long contexts": [(1, 600), (1, 530)],
    "a prompt": [(80, 80)],
    "a chunk and tokens": [(1, 70), (30, 100), (1, 64)],
}


def layout_of(rows: Sequence[tuple[int, int]], *, scattered: bool, device: torch.device | str = "cpu") -> PagedLayout:
    """Rows in pages of their own, that follow each other or do not."""
    free = (torch.randperm(POOL) if scattered else torch.arange(POOL)).tolist()
    tables = [[free.pop(0) for _ in range(-(-context // PAGE))] for _, context in rows]
    most = max(map(len, tables))
    places = [(own, at) for own, (tokens, context) in zip(tables, rows, strict=True) for at in range(context)[-tokens:]]
    starts = [sum(tokens for tokens, _ in rows[:index]) for index in range(len(rows) + 1)]
    return PagedLayout(
        query_starts=torch.tensor(starts, dtype=torch.int32, device=device),
        context_tokens=torch.tensor([context for _, context in rows], dtype=torch.int32, device=device),
        page_table=torch.tensor([own + [0] * (most - len(own)) for own in tables], dtype=torch.int32, device=device),
        slots=torch.tensor([own[at // PAGE] * PAGE + at % PAGE for own, at in places], device=device),
        most_queries=max(tokens for tokens, _ in rows),
        most_context=max(context for _, context in rows),
    )


def rotation_of(tokens: int, device: torch.device | str = "cpu") -> Rotation:
    """Arbitrary angles."""
    angles = torch.randn(tokens, WIDTH // 2, device=device) * 3
    return Rotation(angles.cos(), angles.sin())


def pools(dtype: torch.dtype, device: torch.device | str = "cpu") -> torch.Tensor:
    """Of all layers, full of numbers."""
    return torch.randn(LAYERS, POOL, PAGE, KV_HEADS, WIDTH, device=device).to(dtype)


def expect_the_ops(layout: PagedLayout, dtype: torch.dtype, *, norm: bool, invariant: bool) -> None:
    """Every layer gives the same bits as the ops do, and leaves the same bits in the pools."""
    device, tokens = layout.slots.device, layout.slots.shape[0]
    torch.manual_seed(3)
    rotation, keys, values = rotation_of(tokens, device), pools(dtype, device), pools(dtype, device)
    others = keys.clone(), values.clone()
    step = attention_step(
        rotation, keys, values, layout, heads=HEADS, kv_heads=KV_HEADS, eps=1e-5, batch_invariant=invariant
    )
    for layer in range(LAYERS):
        qkv = torch.randn(tokens, (HEADS + 2 * KV_HEADS) * WIDTH, device=device).to(dtype)
        norms = [torch.randn(WIDTH, device=device).to(dtype) if norm else None for _ in range(2)]
        found = step(layer, qkv, *norms)
        own_keys, own_values = others[0][layer], others[1][layer]
        queries = rotary_cache(
            qkv,
            rotation,
            own_keys,
            own_values,
            layout,
            heads=HEADS,
            kv_heads=KV_HEADS,
            q_norm=norms[0],
            k_norm=norms[1],
            eps=1e-5,
        )
        expected = paged_attention(queries, own_keys, own_values, layout, batch_invariant=invariant)
        assert torch.equal(found, expected.flatten(1))
    assert torch.equal(keys, others[0])
    assert torch.equal(values, others[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", STEPS.values(), ids=STEPS)
def test_a_step_is_its_ops(rows: list[tuple[int, int]], dtype: torch.dtype) -> None:
    """In plain torch, with norms and without, pages in order and not, rows together and each alone."""
    torch.manual_seed(1)
    for scattered, norm, invariant in ((False, False, False), (True, True, False), (False, True, True)):
        expect_the_ops(layout_of(rows, scattered=scattered), dtype, norm=norm, invariant=invariant)


def test_a_step_is_its_kernels(device: torch.device) -> None:
    """Where kernels run it is these."""
    torch.manual_seed(1)
    layout = layout_of(STEPS["a chunk and tokens"], scattered=True, device=device)
    expect_the_ops(layout, torch.float32, norm=False, invariant=False)


def test_padding_is_not_written() -> None:
    """A token without a slot turns and leaves no trace."""
    layout = layout_of([(3, 3)], scattered=False)
    layout.slots[1] = -1
    keys, values = (torch.full((LAYERS, POOL, PAGE, KV_HEADS, WIDTH), 7.0) for _ in range(2))
    step = attention_step(rotation_of(3), keys, values, layout, heads=HEADS, kv_heads=KV_HEADS)
    step(1, torch.randn(3, (HEADS + 2 * KV_HEADS) * WIDTH))
    for pool in (keys, values):
        changed = (pool != 7).any(-1).any(-1).nonzero().tolist()
        assert changed == [[1, 0, 0], [1, 0, 2]]


def test_what_does_not_fit_is_refused() -> None:
    """Pools, tables and projections of another shape, and slots outside the pool: with what was found."""
    layout, rotation, good = layout_of([(1, 70)], scattered=False), rotation_of(1), pools(torch.float32)

    def step(keys: torch.Tensor = good, rotation: Rotation = rotation, layout: PagedLayout = layout) -> None:
        made = attention_step(rotation, keys, good, layout, heads=HEADS, kv_heads=KV_HEADS)
        made(0, torch.zeros(1, 5))

    with pytest.raises(ValueError, match=r"qkv: found shape \(1, 5\), expected \(1, 128\)"):
        step()
    with pytest.raises(ValueError, match="found keys of shape"):
        step(keys=good[0])
    with pytest.raises(ValueError, match="values: found"):
        step(keys=good.bfloat16())
    with pytest.raises(ValueError, match="cos: found shape"):
        step(rotation=rotation_of(2))
    outside = layout_of([(1, 70)], scattered=False)
    outside.slots[0] = POOL * PAGE
    with pytest.raises(ValueError, match=f"found {POOL * PAGE}, expected -1 to"):
        step(layout=outside)
