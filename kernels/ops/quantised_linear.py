"""Matrix product with a weight in 4 or 8 bits."""

import torch

from antiphon.kernels.checks import expect_contiguous, expect_float
from antiphon.kernels.packed import PackedLinear
from antiphon.kernels.reference.quantised_linear import quantised_linear as quantised_linear_reference
from antiphon.kernels.registry import Backend, backend_for


def quantised_linear(x: torch.Tensor, packed: PackedLinear, *, batch_invariant: bool = False) -> torch.Tensor:
    """``x @ weight.T`` for the weight that ``packed`` means: ``x`` is [.., K], the result [.., N]; sums are float32.

    On an accelerator the weight is never dequantised in memory. The torch reference does that, for every call: it gives
    the meaning, and a CPU engine that must be fast has its own way (``runtime/engine``). ``batch_invariant`` is that of
    ``linear``: one tile for every number of rows, and no split of the depth.

    Raises:
        ValueError: ``x`` is not contiguous, has another width or lies on another device than the weight.
    """
    expect_float("x", x)
    expect_contiguous("x", x)
    width, depth = packed.shape
    if x.shape[-1] != depth:
        raise ValueError(f"x: found shape {tuple(x.shape)}, expected a last dimension of {depth}")
    if x.device != packed.codes.device:
        raise ValueError(f"x: found device {x.device}, expected that of the weight, {packed.codes.device}")
    if backend_for(x) is Backend.REFERENCE:
        return quantised_linear_reference(x, packed)
    out = torch.empty(*x.shape[:-1], width, dtype=x.dtype, device=x.device)
    if out.numel():
        _fill(out.view(-1, width), x.view(-1, depth), packed, batch_invariant)
    return out


def _fill(out: torch.Tensor, x: torch.Tensor, packed: PackedLinear, batch_invariant: bool) -> None:
    from antiphon.kernels.device.linear_split import linear_split_launcher
    from antiphon.kernels.device.quantised_linear import (
        plan_quantised,
        quantised_linear_launcher,
        quantised_row_launcher,
    )

    if len(x) == 1 and not batch_invariant:
        quantised_row_launcher(out, x, packed)
        return
    plan = plan_quantised(x, packed, fixed=batch_invariant)
    if plan.splits == 1:
        quantised_linear_launcher(out, x, packed, plan)
        return
    parts = torch.empty(plan.splits, *out.shape, dtype=torch.float32, device=x.device)
    quantised_linear_launcher(parts, x, packed, plan)
    linear_split_launcher(out, parts, None)
