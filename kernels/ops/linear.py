"""Matrix product with a weight."""

import torch

from antiphon.kernels.checks import expect_contiguous, expect_float, expect_like, expect_shape
from antiphon.kernels.reference.linear import linear as linear_reference
from antiphon.kernels.registry import Backend, backend_for


def linear(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, *, batch_invariant: bool = False
) -> torch.Tensor:
    """``x @ weight.T + bias``: ``x`` is [.., K], ``weight`` [N, K], ``bias`` [N], the result [.., N].

    On an accelerator, up to 16 rows run in our kernels, which read the weight at the speed of the memory. More rows are
    bound by arithmetic and go to the vendor's library (cuBLAS, hipBLASLt), which knows its chip better. With
    ``batch_invariant`` our tiled kernel does them all, with one tile and no split of the depth: a row then has the same
    result alone and among others, bit by bit, at the price of speed.

    Raises:
        ValueError: shapes do not fit, a tensor is not contiguous, or dtypes or devices differ.
    """
    expect_float("x", x)
    expect_contiguous("x", x)
    if weight.dim() != 2:
        raise ValueError(f"weight: found shape {tuple(weight.shape)}, expected [outputs, {x.shape[-1]}]")
    expect_shape("weight", weight, (weight.shape[0], x.shape[-1]))
    for name, tensor, shape in (("weight", weight, weight.shape), ("bias", bias, weight.shape[:1])):
        if tensor is not None:
            expect_shape(name, tensor, tuple(shape))
            expect_like(name, tensor, x)
            expect_contiguous(name, tensor)
    backend = backend_for(x)
    if backend is Backend.REFERENCE:
        return linear_reference(x, weight, bias)
    from antiphon.kernels.device.linear import SKINNY_ROWS

    rows = x.view(-1, x.shape[-1]) if x.numel() else x.new_zeros(x.shape[:-1].numel(), x.shape[-1])
    if backend is Backend.TRITON and len(rows) > SKINNY_ROWS and not batch_invariant:
        return linear_reference(x, weight, bias)
    out = torch.empty(len(rows), weight.shape[0], dtype=x.dtype, device=x.device)
    if out.numel():
        _fill(out, rows, weight, bias, batch_invariant)
    return out.view(*x.shape[:-1], weight.shape[0])


def _fill(
    out: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, batch_invariant: bool
) -> None:
    from antiphon.kernels.device.linear import linear_launcher, linear_row_launcher, plan_linear
    from antiphon.kernels.device.linear_split import linear_split_launcher

    if len(x) == 1 and not batch_invariant:
        linear_row_launcher(out, x, weight, bias)
        return
    plan = plan_linear(x, weight, fixed=batch_invariant)
    if plan.splits == 1:
        linear_launcher(out, x, weight, bias, plan)
        return
    parts = torch.empty(plan.splits, *out.shape, dtype=torch.float32, device=x.device)
    linear_launcher(parts, x, weight, None, plan)
    linear_split_launcher(out, parts, bias)
