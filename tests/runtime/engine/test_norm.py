"""Residual sums and their norms, in the form of a CPU."""

import pytest
import torch

from antiphon.runtime.engine.norm import PairNorm, norm_of

EPS = 1e-5


def defined(total: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The norm as its definition says, in float64."""
    exact = total.double()
    return exact / (exact.square().mean(-1, keepdim=True) + EPS).sqrt() * weight.double()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 3, 300])
def test_the_norm_is_that_of_the_definition(dtype: torch.dtype, rows: int) -> None:
    """To the dtype's rounding, of the embedding and of one sum after another; a row is the same in any company."""
    torch.manual_seed(0)
    weight, x, *added = (torch.randn(*shape).to(dtype) for shape in ((96,), (rows, 96), (rows, 96), (rows, 96)))
    norm = norm_of(weight, EPS)
    assert isinstance(norm, PairNorm)
    normed, residual = norm.first(x)
    total = x
    torch.testing.assert_close(normed.double(), defined(total, weight), atol=2e-6, rtol=2 * torch.finfo(dtype).eps)
    for more in added:
        alone, _ = norm(more[:1], residual[:1])
        normed, residual = norm(more, residual)
        total = total + more  # rounded to its dtype, as a model's residual is
        torch.testing.assert_close(normed.double(), defined(total, weight), atol=2e-6, rtol=2 * torch.finfo(dtype).eps)
        assert normed.is_contiguous()
        assert torch.equal(alone, normed[:1])
