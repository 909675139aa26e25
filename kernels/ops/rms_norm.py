"""RMS norm: alone, after a residual sum, or before a quantised product."""

import torch

from antiphon.kernels.checks import expect_float, expect_like, expect_quantised, expect_shape, once_a_kind, rows_of
from antiphon.kernels.reference.rms_norm import add_rms_norm as add_rms_norm_reference
from antiphon.kernels.reference.rms_norm import rms_norm as rms_norm_reference
from antiphon.kernels.reference.rms_norm import rms_norm_quant as rms_norm_quant_reference
from antiphon.kernels.registry import Backend, backend_for


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """``x / sqrt(mean(x²) + eps) * weight`` over the last dimension, computed in float32 (arXiv 1910.07467).

    Raises:
        ValueError: ``weight`` is not one value a column, or dtypes or devices differ.
    """
    _check(x, weight)
    if backend_for(x) is Backend.REFERENCE:
        return rms_norm_reference(x, weight, eps)
    from antiphon.kernels.device.rms_norm import rms_norm_launcher

    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    if out.numel():
        rms_norm_launcher(rows_of(out), rows_of(x), weight.contiguous(), eps)
    return out


def add_rms_norm(
    x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(``rms_norm`` of ``x + residual``, the sum, which is the next residual): one pass over both in place of two.

    Raises:
        ValueError: as ``rms_norm``, or ``x`` and ``residual`` differ in shape, dtype or device.
    """
    _check(x, weight, residual)
    if backend_for(x) is Backend.REFERENCE:
        return add_rms_norm_reference(x, residual, weight, eps)
    from antiphon.kernels.device.rms_norm import add_rms_norm_launcher

    out, total = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for _ in range(2))
    if out.numel():
        rows = rows_of(out), rows_of(total), rows_of(x), rows_of(residual)
        add_rms_norm_launcher(*rows, weight.contiguous(), eps)
    return out, total


def rms_norm_quant(
    x: torch.Tensor, weight: torch.Tensor, eps: float, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """The norm in 8 bits: (codes in ``dtype``, float32 scale of each row), ``codes * scale`` is the norm.

    ``dtype`` is torch.int8 (the largest magnitude of a row becomes 127) or torch.float8_e4m3fn (448).

    Raises:
        ValueError: as ``rms_norm``, or another ``dtype``.
    """
    _check(x, weight)
    expect_quantised(dtype)
    if backend_for(x) is Backend.REFERENCE:
        return rms_norm_quant_reference(x, weight, eps, dtype)
    from antiphon.kernels.device.rms_norm import rms_norm_quant_launcher

    out = torch.empty(x.shape, dtype=dtype, device=x.device)
    scale = torch.empty(x.shape[:-1], dtype=torch.float32, device=x.device)
    if out.numel():
        rms_norm_quant_launcher(rows_of(out), scale.view(-1), rows_of(x), weight.contiguous(), eps)
    return out, scale


@once_a_kind
def _check(x: torch.Tensor, weight: torch.Tensor, residual: torch.Tensor | None = None) -> None:
    expect_float("x", x)
    expect_shape("weight", weight, (x.shape[-1],))
    expect_like("weight", weight, x)
    if residual is not None:
        expect_shape("residual", residual, tuple(x.shape))
        expect_like("residual", residual, x)
