"""SiLU-gated product in plain torch."""

import torch

from antiphon.kernels.reference.quantise import quantise


def silu_mul(gate_up: torch.Tensor) -> torch.Tensor:
    """``silu(gate) * up`` where the last dimension holds gate, then up (SwiGLU, arXiv 2002.05202)."""
    gate, up = gate_up.chunk(2, dim=-1)
    return torch.nn.functional.silu(gate).mul_(up)


def silu_mul_quant(gate_up: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """(codes in ``dtype``, float32 scale of each row) of the product, which is not rounded in between."""
    return quantise(silu_mul(gate_up.float()), dtype)
