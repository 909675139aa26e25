"""RMS norm in plain torch."""

import torch


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """``x / sqrt(mean(x²) + eps) * weight`` over the last dimension, computed in float32 (arXiv 1910.07467)."""
    return torch.nn.functional.rms_norm(x, (x.shape[-1],), weight, eps)
