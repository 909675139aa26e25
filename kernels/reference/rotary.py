"""Rotary position embedding in plain torch."""

import torch


def rotary(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate element i of each head with element i + half, by the angle of the row (arXiv 2104.09864).

    ``x`` is [tokens, heads, 2 * half]; ``cos`` and ``sin`` are [tokens, half], float32.
    """
    halves = x.float().view(*x.shape[:-1], 2, x.shape[-1] // 2)
    rotated = halves * cos[:, None, None]
    crossed = halves * sin[:, None, None]
    # In place on both halves: six operations instead of nine, which a decode step of one token feels.
    rotated[:, :, 0] -= crossed[:, :, 1]
    rotated[:, :, 1] += crossed[:, :, 0]
    return rotated.flatten(-2).to(x.dtype)
