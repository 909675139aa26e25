"""Rotary position embedding."""

import torch

from antiphon.kernels.checks import expect_float
from antiphon.kernels.reference.rotary import rotary as rotary_reference
from antiphon.kernels.registry import Backend, backend_for
from antiphon.kernels.rotation import Rotation


def rotary(x: torch.Tensor, rotation: Rotation) -> torch.Tensor:
    """Rotate element i of each head with element i + half, by the angle of the row (arXiv 2104.09864).

    ``x`` is [tokens, heads, 2 * half], where tokens and heads may be strided (a slice of a fused projection).

    Raises:
        ValueError: shapes do not fit, heads have an odd width or a strided last dimension, or a dtype is not supported.
    """
    expect_float("x", x)
    if x.dim() != 3 or x.shape[-1] % 2 or x.stride(-1) != 1:
        raise ValueError(
            f"x: found shape {tuple(x.shape)} with strides {x.stride()}, "
            "expected [tokens, heads, an even width] with a contiguous last dimension"
        )
    rotation.check(x.shape[0], x.shape[2] // 2, x.device)
    if backend_for(x) is Backend.REFERENCE:
        return rotary_reference(x, rotation)
    from antiphon.kernels.device.rotary import rotary_launcher

    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    if out.numel():
        rotary_launcher(out, x, rotation.cos.contiguous(), rotation.sin.contiguous())
    return out
