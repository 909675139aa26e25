"""SiLU-gated product: kernel against reference."""

import pytest
import torch

from antiphon.kernels.ops import silu_mul
from antiphon.kernels.reference.silu_mul import silu_mul as silu_mul_reference


@pytest.mark.parametrize(("rows", "width"), [(1, 1536), (3, 855), (2, 1)])
def test_kernel_equals_reference(
    rows: int, width: int, device: torch.device, dtype: torch.dtype, tolerance: float
) -> None:
    """Widths beyond one block and not a multiple of it included."""
    gate_up = torch.randn(rows, 2 * width, device=device, dtype=dtype) * 2
    expected = silu_mul_reference(gate_up.float())
    torch.testing.assert_close(silu_mul(gate_up).float(), expected, atol=tolerance, rtol=tolerance)


def test_leading_dimensions_are_kept(device: torch.device) -> None:
    """Only the last dimension is halved; no row gives no row."""
    gate_up = torch.randn(2, 3, 8, device=device)
    torch.testing.assert_close(silu_mul(gate_up), silu_mul_reference(gate_up))
    assert silu_mul(torch.empty(0, 8, device=device)).shape == (0, 4)


def test_odd_width_is_refused() -> None:
    """Gate and up must have the same width."""
    with pytest.raises(ValueError, match="found a last dimension of 7"):
        silu_mul(torch.zeros(2, 7))
