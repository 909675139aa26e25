"""SiLU-gated product."""

import torch

from antiphon.kernels.checks import expect_float
from antiphon.kernels.reference.silu_mul import silu_mul as silu_mul_reference
from antiphon.kernels.registry import Backend, backend_for


def silu_mul(gate_up: torch.Tensor) -> torch.Tensor:
    """``silu(gate) * up`` where the last dimension holds gate, then up (SwiGLU, arXiv 2002.05202).

    Raises:
        ValueError: the last dimension is odd, or the dtype is not a floating one.
    """
    expect_float("gate_up", gate_up)
    if gate_up.shape[-1] % 2:
        raise ValueError(f"gate_up: found a last dimension of {gate_up.shape[-1]}, expected an even one: gate, then up")
    if backend_for(gate_up) is Backend.REFERENCE:
        return silu_mul_reference(gate_up)
    from antiphon.kernels.device.silu_mul import silu_mul_launcher

    rows = gate_up.reshape(-1, gate_up.shape[-1]).contiguous()
    out = torch.empty(rows.shape[0], rows.shape[1] // 2, dtype=rows.dtype, device=rows.device)
    if out.numel():
        silu_mul_launcher(out, rows)
    return out.view(*gate_up.shape[:-1], out.shape[-1])
