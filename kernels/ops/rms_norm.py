"""RMS norm."""

import torch

from antiphon.kernels.checks import expect_float, expect_like, expect_shape
from antiphon.kernels.reference.rms_norm import rms_norm as rms_norm_reference
from antiphon.kernels.registry import Backend, backend_for


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """``x / sqrt(mean(x²) + eps) * weight`` over the last dimension, computed in float32 (arXiv 1910.07467).

    Raises:
        ValueError: ``weight`` is not one value a column, or dtypes or devices differ.
    """
    expect_float("x", x)
    expect_shape("weight", weight, (x.shape[-1],))
    expect_like("weight", weight, x)
    if backend_for(x) is Backend.REFERENCE:
        return rms_norm_reference(x, weight, eps)
    from antiphon.kernels.device.rms_norm import rms_norm_launcher

    rows = x.reshape(-1, x.shape[-1]).contiguous()
    out = torch.empty_like(rows)
    if rows.shape[0]:
        rms_norm_launcher(out, rows, weight.contiguous(), eps)
    return out.view(x.shape)
