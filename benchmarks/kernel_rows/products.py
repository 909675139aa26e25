"""Matrix products: bf16, quantised weights, and adapters."""

from collections.abc import Callable

import torch
from torch.nn.functional import linear as torch_linear

from antiphon.kernels import ops, samples
from antiphon.kernels.packed import PackedKind
from antiphon.kernels.samples import numbers
from kernel_rows.case import FFN, HEAD, KV_HEADS, WIDTH, Call, Case, Figure, Prepared


def products() -> list[Case]:
    """Every row of this kind."""
    return [*_linears(), *_adapters()]


def _linears() -> list[Case]:
    def skinny(rows: int) -> Callable[[torch.device], Prepared]:
        def prepare(device: torch.device) -> Prepared:
            x, weight = numbers(rows, WIDTH, device=device), numbers(2 * FFN, WIDTH, device=device)
            return Prepared(
                call=lambda: ops.linear(x, weight), peer=lambda: torch_linear(x, weight), bytes=2 * weight.numel()
            )

        return prepare

    def large(device: torch.device) -> Prepared:
        x, weight = (numbers(8192, 8192, device=device) for _ in range(2))
        return Prepared(call=lambda: ops.linear(x, weight, batch_invariant=True), peer=lambda: torch_linear(x, weight))

    def quantised(kind: PackedKind, rows: int) -> Callable[[torch.device], Prepared]:
        def prepare(device: torch.device) -> Prepared:
            x, weight = numbers(rows, WIDTH, device=device), numbers(2 * FFN, WIDTH, device=device)
            packed = samples.packed_weight(kind, 2 * FFN, WIDTH, device)
            return Prepared(call=lambda: ops.quantised_linear(x, packed), peer=lambda: torch_linear(x, weight))

        return prepare

    shape = f"x {WIDTH} x {2 * FFN}"
    return [
        *(
            Case(
                key=f"linear_{rows}_of_copy",
                op="linear",
                shape=f"{rows} {shape}",
                figure=Figure.COPY,
                goal=0.8,
                prepare=skinny(rows),
            )
            for rows in (1, 16)
        ),
        Case(
            key="linear_large_gain",
            op="linear, ours (the vendor's runs by default)",
            shape="8192 cubed",
            figure=Figure.GAIN,
            goal=0.85,
            prepare=large,
        ),
        *(
            Case(
                key=f"{kind}_{rows}_gain",
                op=f"quantised_linear {kind}",
                shape=f"{rows} {shape}",
                figure=Figure.GAIN,
                goal=goal,
                prepare=quantised(kind, rows),
            )
            for kind, rows, goal in (
                (PackedKind.Q4, 1, 2.2),
                (PackedKind.Q4, 16, 1.5),
                (PackedKind.Q8, 1, 1.6),
                (PackedKind.INT8, 1, 1.6),
                (PackedKind.FP8, 1, 1.6),
            )
        ),
    ]


def _adapters() -> list[Case]:
    projections = (  # of a layer: inputs and the outputs of each slice
        (WIDTH, (WIDTH, KV_HEADS * HEAD, KV_HEADS * HEAD)),
        (WIDTH, (WIDTH,)),
        (WIDTH, (FFN, FFN)),
        (FFN, (WIDTH,)),
    )

    def step(device: torch.device, distinct: int, pool: int) -> tuple[Call, Call]:
        """(the projections of a layer with adapters, the same without), for 64 rows."""
        parts = []
        for inputs, widths in projections:
            layout, found = samples.adapters(64, distinct, pool, inputs, widths, device)
            weight = numbers(sum(widths), inputs, device=device)
            parts.append((numbers(64, inputs, device=device), weight, layout, found))

        def adapted() -> None:
            for x, weight, layout, found in parts:
                ops.lora(x, ops.linear(x, weight), layout, found)

        def plain() -> None:
            for x, weight, _, _ in parts:
                ops.linear(x, weight)

        return adapted, plain

    def share(device: torch.device) -> Prepared:
        adapted, plain = step(device, 64, 64)
        return Prepared(call=adapted, peer=plain)

    def pools(device: torch.device) -> Prepared:
        return Prepared(call=step(device, 64, 1000)[0], peer=step(device, 1, 1)[0])

    return [
        Case(
            key="lora_64_time",
            op="lora",
            shape="projections of a layer, 64 rows of 64 adapters, peer none",
            figure=Figure.TIME,
            goal=1.10,
            prepare=share,
        ),
        Case(
            key="lora_pool_time",
            op="lora",
            shape="the same from a pool of 1,000, peer a pool of one",
            figure=Figure.TIME,
            goal=1.05,
            prepare=pools,
        ),
    ]
