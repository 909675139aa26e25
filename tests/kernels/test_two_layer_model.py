"""A model of two layers, end to end through the kernels, equals the same model in plain torch."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from antiphon.kernels import ops
from antiphon.kernels.paged_layout import PAGE, PagedLayout
from antiphon.kernels.reference import linear, paged_attention, rms_norm, rotary_cache, silu_mul
from antiphon.kernels.rotation import Rotation

LAYERS, HEADS, KV_HEADS, WIDTH, FFN, PAGES = 2, 6, 2, 32, 96, 5
HIDDEN = HEADS * WIDTH
CACHED = 3  # a page that a sequence brings with it
Forward = Callable[[torch.Tensor, torch.Tensor, PagedLayout], torch.Tensor]


@dataclass(frozen=True)
class Implementation:
    """The operations of a layer: ours, or their torch references."""

    linear: Callable[..., torch.Tensor]
    rms_norm: Callable[..., torch.Tensor]
    add_rms_norm: Callable[..., tuple[torch.Tensor, torch.Tensor]]
    rotary_cache: Callable[..., torch.Tensor]
    paged_attention: Callable[..., torch.Tensor]
    silu_mul: Callable[..., torch.Tensor]


KERNELS = Implementation(
    ops.linear, ops.rms_norm, ops.add_rms_norm, ops.rotary_cache, ops.paged_attention, ops.silu_mul
)
TORCH = Implementation(
    linear.linear,
    rms_norm.rms_norm,
    rms_norm.add_rms_norm,
    rotary_cache.rotary_cache,
    paged_attention.paged_attention,
    silu_mul.silu_mul,
)


def model(use: Implementation, device: torch.device, dtype: torch.dtype) -> Forward:
    """A Llama with Qwen3's norms on queries and keys; its weights and cache are the same at every call."""
    drawn = torch.Generator().manual_seed(7)

    def weight(rows: int, columns: int) -> torch.Tensor:
        return (torch.randn(rows, columns, generator=drawn) / math.sqrt(columns)).to(device, dtype)

    def pool() -> torch.Tensor:
        pages = torch.full((PAGES, PAGE, KV_HEADS, WIDTH), torch.nan)
        pages[CACHED] = torch.randn(pages.shape[1:], generator=drawn)
        return pages.to(device, dtype)

    def norm(width: int) -> torch.Tensor:
        return (1 + 0.1 * torch.randn(width, generator=drawn)).to(device, dtype)

    layers: list[dict[str, Any]] = [
        {
            "norm": norm(HIDDEN),
            "qkv": weight((HEADS + 2 * KV_HEADS) * WIDTH, HIDDEN),
            "q_norm": norm(WIDTH),
            "k_norm": norm(WIDTH),
            "out": weight(HIDDEN, HIDDEN),
            "ffn_norm": norm(HIDDEN),
            "gate_up": weight(2 * FFN, HIDDEN),
            "down": weight(HIDDEN, FFN),
            "keys": pool(),
            "values": pool(),
        }
        for _ in range(LAYERS)
    ]
    frequencies = 10000.0 ** (-torch.arange(WIDTH // 2, device=device) / (WIDTH // 2))

    def forward(x: torch.Tensor, positions: torch.Tensor, layout: PagedLayout) -> torch.Tensor:
        angles = positions[:, None].float() * frequencies
        normed = use.rms_norm(x, layers[0]["norm"], 1e-5)
        for layer, next_norm in zip(layers, [*(each["norm"] for each in layers[1:]), None], strict=True):
            cache = (layer["keys"], layer["values"], layout)
            qkv = use.linear(normed, layer["qkv"])
            norms = {"q_norm": layer["q_norm"], "k_norm": layer["k_norm"]}
            q = use.rotary_cache(
                qkv, Rotation(angles.cos(), angles.sin()), *cache, heads=HEADS, kv_heads=KV_HEADS, eps=1e-5, **norms
            )
            attended = use.linear(use.paged_attention(q, *cache).flatten(1), layer["out"])
            normed, x = use.add_rms_norm(attended, x, layer["ffn_norm"], 1e-5)
            down = use.linear(use.silu_mul(use.linear(normed, layer["gate_up"])), layer["down"])
            if next_norm is None:
                return x + down
            normed, x = use.add_rms_norm(down, x, next_norm, 1e-5)
        raise AssertionError("no layer")

    return forward


def step(rows: Sequence[tuple[int, int, list[int]]], device: torch.device) -> tuple[torch.Tensor, PagedLayout]:
    """Positions and layout of rows of (tokens, context, pages)."""
    positions = [torch.arange(context - tokens, context) for tokens, context, _ in rows]
    slots = [
        torch.tensor(pages)[at // PAGE] * PAGE + at % PAGE for at, (_, _, pages) in zip(positions, rows, strict=True)
    ]
    starts = [sum(tokens for tokens, _, _ in rows[:index]) for index in range(len(rows) + 1)]
    layout = PagedLayout(
        query_starts=torch.tensor(starts, dtype=torch.int32, device=device),
        context_tokens=torch.tensor([context for _, context, _ in rows], dtype=torch.int32, device=device),
        page_table=torch.tensor([[*pages, 2**30][:2] for _, _, pages in rows], dtype=torch.int32, device=device),
        slots=torch.cat(slots).to(device),
        most_queries=max(tokens for tokens, _, _ in rows),
        most_context=max(context for _, context, _ in rows),
    )
    return torch.cat(positions).to(device), layout


def test_steps_of_a_model_equal_torch(device: torch.device) -> None:
    """A chunk that crosses into a page beside a prompt; then its decode, drafts and a prompt in one step."""
    steps = [
        [(4, 66, [CACHED, 1]), (5, 5, [4])],
        [(1, 67, [CACHED, 1]), (3, 8, [4]), (2, 2, [0])],
    ]
    ours, torchs = model(KERNELS, device, torch.float32), model(TORCH, device, torch.float32)
    for rows in steps:
        positions, layout = step(rows, device)
        x = torch.randn(len(positions), HIDDEN, device=device)
        found, expected = ours(x, positions, layout), torchs(x, positions, layout)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
