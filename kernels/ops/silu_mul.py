"""SiLU-gated product, alone or before a quantised product."""

import torch

from antiphon.kernels.checks import expect_float, expect_quantised, once_a_kind, rows_of
from antiphon.kernels.reference.silu_mul import silu_mul as silu_mul_reference
from antiphon.kernels.reference.silu_mul import silu_mul_quant as silu_mul_quant_reference
from antiphon.kernels.registry import Backend, backend_for


def silu_mul(gate_up: torch.Tensor) -> torch.Tensor:
    """``silu(gate) * up`` where the last dimension holds gate, then up (SwiGLU, arXiv 2002.05202).

    Raises:
        ValueError: the last dimension is odd, or the dtype is not a floating one.
    """
    _check(gate_up)
    if backend_for(gate_up) is Backend.REFERENCE:
        return silu_mul_reference(gate_up)
    from antiphon.kernels.device.silu_mul import silu_mul_launcher

    out = torch.empty(_out_shape(gate_up), dtype=gate_up.dtype, device=gate_up.device)
    if out.numel():
        silu_mul_launcher(rows_of(out), rows_of(gate_up))
    return out


def silu_mul_quant(gate_up: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """The product in 8 bits: (codes in ``dtype``, float32 scale of each row), ``codes * scale`` is the product.

    ``dtype`` is torch.int8 (the largest magnitude of a row becomes 127) or torch.float8_e4m3fn (448).

    Raises:
        ValueError: as ``silu_mul``, or another ``dtype``.
    """
    _check(gate_up)
    expect_quantised(dtype)
    if backend_for(gate_up) is Backend.REFERENCE:
        return silu_mul_quant_reference(gate_up, dtype)
    from antiphon.kernels.device.silu_mul import silu_mul_quant_launcher

    shape = _out_shape(gate_up)
    out = torch.empty(shape, dtype=dtype, device=gate_up.device)
    scale = torch.empty(shape[:-1], dtype=torch.float32, device=gate_up.device)
    if out.numel():
        silu_mul_quant_launcher(rows_of(out), scale.view(-1), rows_of(gate_up))
    return out, scale


@once_a_kind
def _check(gate_up: torch.Tensor) -> None:
    expect_float("gate_up", gate_up)
    if gate_up.shape[-1] % 2:
        raise ValueError(f"gate_up: found a last dimension of {gate_up.shape[-1]}, expected an even one: gate, then up")


def _out_shape(gate_up: torch.Tensor) -> tuple[int, ...]:
    return (*gate_up.shape[:-1], gate_up.shape[-1] // 2)
