"""Public operations: they validate, allocate and dispatch to the backend that fits the tensor's device."""

from antiphon.kernels.ops.rms_norm import rms_norm
from antiphon.kernels.ops.rotary import rotary
from antiphon.kernels.ops.silu_mul import silu_mul

__all__ = ["rms_norm", "rotary", "silu_mul"]
