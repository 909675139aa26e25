"""Low-rank adapters of many rows in plain torch."""

import torch

from antiphon.kernels.lora import LoraLayout, LoraPool


def lora(x: torch.Tensor, y: torch.Tensor, layout: LoraLayout, pool: LoraPool) -> torch.Tensor:
    """Add to each row of ``y`` [rows, outputs] what its adapter makes of that of ``x`` [rows, inputs]; gives ``y``."""
    for slot, rows in zip(layout.slots.tolist(), layout.rows, strict=True):
        if slot < 0:
            continue
        members = rows[rows >= 0].long()
        rank, scaling = int(pool.ranks[slot]), float(pool.scalings[slot])
        last = 0
        for piece, width in enumerate(pool.widths):
            first, last = last, last + width
            inner = x[members].float() @ pool.a[slot, piece, :rank].float().T
            delta = scaling * (inner @ pool.b[slot, first:last, :rank].float().T)
            y[members, first:last] = (y[members, first:last].float() + delta).to(y.dtype)
    return y
