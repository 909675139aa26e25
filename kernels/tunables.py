"""What ``antiphon kernels tune`` measures: rows of the tile table and the tiles to choose from, at the sizes of an
8B model (Llama 3.1: width 4,096, ffn 14,336, 32 heads of 128 on 8)."""

from collections.abc import Callable, Sequence
from itertools import product

import torch

from antiphon.kernels import ops, samples
from antiphon.kernels.packed import PackedKind
from antiphon.kernels.tiles import ANY, Tile
from antiphon.kernels.tune import Tunable

_WIDTH, _FFN = 4096, 14336
_HEADS, _KV_HEADS, _HEAD = 32, 8, 128


def tunables() -> tuple[Tunable, ...]:
    """Every row that is worth measuring."""
    return (
        Tunable(
            op="silu_mul",
            dtype=ANY,
            bucket=ANY,
            candidates=_tiles({"BLOCK": (512, 1024, 2048, 4096)}, warps=(2, 4, 8), stages=(1,)),
            prepare=_silu_mul,
        ),
        Tunable(
            op="linear",
            dtype="bf16",
            bucket="row",
            candidates=_tiles({"BLOCK_N": (1, 2, 4, 8, 16), "BLOCK_K": (512, 1024, 2048)}, warps=(4, 8), stages=(1,)),
            prepare=lambda device: _linear(1, device),
        ),
        Tunable(
            op="linear",
            dtype="bf16",
            bucket="skinny",
            candidates=_tiles(
                {"BLOCK_M": (16,), "BLOCK_N": (16, 32, 64, 128), "BLOCK_K": (64, 128, 256), "GROUP_M": (1,)},
                warps=(4, 8),
                stages=(2, 3, 4, 5),
            ),
            prepare=lambda device: _linear(16, device),
        ),
        Tunable(
            op="linear",
            dtype="bf16",
            bucket="large",
            candidates=_tiles(
                {"BLOCK_M": (64, 128), "BLOCK_N": (128, 256), "BLOCK_K": (32, 64), "GROUP_M": (8,)},
                warps=(4, 8),
                stages=(2, 3, 4),
            ),
            prepare=lambda device: _linear(4096, device),
        ),
        *(each for kind in PackedKind for each in _quantised(kind)),
        Tunable(
            op="lora",
            dtype="bf16",
            bucket="shrink",
            candidates=_tiles({"BLOCK_K": (64, 128, 256)}, warps=(2, 4), stages=(2, 3, 4)),
            prepare=_lora,
        ),
        Tunable(
            op="lora",
            dtype="bf16",
            bucket="expand",
            candidates=_tiles({"BLOCK_N": (64, 128, 256)}, warps=(2, 4, 8), stages=(1, 2)),
            prepare=_lora,
        ),
        Tunable(
            op="paged_attention",
            dtype="bfloat16",
            bucket=f"decode-{_HEAD}",
            candidates=_tiles({"BLOCK_M": (16,)}, warps=(2, 4, 8), stages=(2, 3, 4)),
            prepare=lambda device: _attention([(1, 4096)] * 64, device),
        ),
        Tunable(
            op="paged_attention",
            dtype="bfloat16",
            bucket=f"prompt-{_HEAD}",
            candidates=_tiles({"BLOCK_M": (64, 128)}, warps=(4, 8), stages=(2, 3, 4)),
            prepare=lambda device: _attention([(4096, 4096)] * 2, device),
        ),
    )


def _tiles(sizes: dict[str, tuple[int, ...]], *, warps: tuple[int, ...], stages: tuple[int, ...]) -> tuple[Tile, ...]:
    return tuple(
        Tile(sizes=dict(zip(sizes, chosen, strict=True)), num_warps=num_warps, num_stages=num_stages)
        for chosen in product(*sizes.values())
        for num_warps in warps
        for num_stages in stages
    )


def _quantised(kind: PackedKind) -> tuple[Tunable, ...]:
    tiled = _tiles({"BLOCK_M": (16,), "BLOCK_N": (32, 64, 128), "WORDS": (8, 16, 32)}, warps=(4, 8), stages=(2, 3, 4))
    large = _tiles({"BLOCK_M": (64, 128), "BLOCK_N": (64, 128), "WORDS": (8, 16)}, warps=(4, 8), stages=(2, 3))
    row = _tiles({"BLOCK_N": (4, 8, 16, 32), "WORDS": (64, 128, 256)}, warps=(4, 8), stages=(1,))

    def prepare(rows: int) -> Callable[[torch.device], Callable[[], object]]:
        def prepared(device: torch.device) -> Callable[[], object]:
            x, packed = (
                samples.numbers(rows, _WIDTH, device=device),
                samples.packed_weight(kind, 2 * _FFN, _WIDTH, device),
            )
            return lambda: ops.quantised_linear(x, packed)

        return prepared

    return tuple(
        Tunable(op="quantised_linear", dtype=kind, bucket=bucket, candidates=candidates, prepare=prepare(rows))
        for bucket, rows, candidates in (("row", 1, row), ("skinny", 16, tiled), ("large", 512, large))
    )


def _silu_mul(device: torch.device) -> Callable[[], object]:
    gate_up = samples.numbers(8192, 2 * _FFN, device=device)
    return lambda: ops.silu_mul(gate_up)


def _linear(rows: int, device: torch.device) -> Callable[[], object]:
    x, weight = samples.numbers(rows, _WIDTH, device=device), samples.numbers(2 * _FFN, _WIDTH, device=device)
    return lambda: ops.linear(x, weight, batch_invariant=rows > 16)  # else the vendor's library runs


def _lora(device: torch.device) -> Callable[[], object]:
    layout, pool = samples.adapters(64, 64, 64, _WIDTH, (_WIDTH, 1024, 1024), device)
    x, y = samples.numbers(64, _WIDTH, device=device), samples.numbers(64, _WIDTH + 2048, device=device)
    return lambda: ops.lora(x, y, layout, pool)


def _attention(rows: Sequence[tuple[int, int]], device: torch.device) -> Callable[[], object]:
    layout, pages = samples.layout_of(rows, device)
    keys, values = (samples.numbers(pages, 64, _KV_HEADS, _HEAD, device=device) for _ in range(2))
    q = samples.numbers(sum(tokens for tokens, _ in rows), _HEADS, _HEAD, device=device)
    return lambda: ops.paged_attention(q, keys, values, layout)
