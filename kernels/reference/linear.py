"""Matrix product with a weight in plain torch."""

import torch


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """``x @ weight.T + bias``: ``x`` is [.., K], ``weight`` [N, K], ``bias`` [N], the result [.., N]."""
    return torch.nn.functional.linear(x, weight, bias)
