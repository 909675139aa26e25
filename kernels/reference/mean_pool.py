"""The mean of a text's tokens at length 1, in plain torch."""

import torch


def mean_pool(hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """[texts, width], float32: the mean of the first ``lengths`` tokens of each text, divided by its length."""
    outside = torch.arange(hidden.shape[1], device=hidden.device) >= lengths[:, None]
    total = hidden.float().masked_fill(outside[:, :, None], 0).sum(1)
    return torch.nn.functional.normalize(total / lengths.clamp(max=hidden.shape[1]).clamp(min=1)[:, None], dim=1)
