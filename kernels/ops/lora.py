"""Low-rank adapters of many rows."""

import torch

from antiphon.kernels.lora import LoraLayout, LoraPool, expect_lora
from antiphon.kernels.reference.lora import lora as lora_reference
from antiphon.kernels.registry import Backend, backend_for


def lora(
    x: torch.Tensor, y: torch.Tensor, layout: LoraLayout, pool: LoraPool, *, batch_invariant: bool = False
) -> torch.Tensor:
    """Add to each row of ``y`` [rows, outputs] what its adapter makes of that of ``x`` [rows, inputs]; gives ``y``.

    A row without an adapter stays as it is. ``y`` holds all slices side by side, as a fused projection writes them.
    With ``batch_invariant`` the inputs are never split, so a row's numbers do not depend on how many others there are.

    Raises:
        ValueError: shapes do not fit, a tensor is not contiguous, or dtypes or devices differ.
    """
    expect_lora(x, y, layout, pool)
    if backend_for(x) is Backend.REFERENCE:
        return lora_reference(x, y, layout, pool)
    from antiphon.kernels.device.lora import lora_launcher, lora_splits

    if layout.slots.numel() and x.numel():
        parts = torch.empty(
            1 if batch_invariant else lora_splits(x, layout, pool),
            layout.rows.numel(),
            len(pool.widths) * pool.most_rank,
            dtype=torch.float32,
            device=x.device,
        )
        lora_launcher(y, x, parts, layout, pool)
    return y
