"""Matrix product with a packed weight in plain torch."""

import torch

from antiphon.kernels.packed import PackedLinear


def quantised_linear(x: torch.Tensor, packed: PackedLinear) -> torch.Tensor:
    """``x @ weight.T`` for the weight that ``packed`` means, dequantised to the dtype of ``x`` [.., K]."""
    return torch.nn.functional.linear(x, packed.dequantise().to(x.dtype))
