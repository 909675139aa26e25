"""RMS norm: kernel against reference."""

import pytest
import torch

from antiphon.kernels.ops import rms_norm
from antiphon.kernels.reference.rms_norm import rms_norm as rms_norm_reference


@pytest.mark.parametrize(("rows", "width"), [(1, 576), (5, 855), (3, 64), (2, 1)])
def test_kernel_equals_reference(
    rows: int, width: int, device: torch.device, dtype: torch.dtype, tolerance: float
) -> None:
    """Widths that are not powers of two included, each row is normed on its own."""
    x = torch.randn(rows, width, device=device, dtype=dtype) * 3
    weight = torch.randn(width, device=device, dtype=dtype)
    expected = rms_norm_reference(x.float(), weight.float(), 1e-5)
    torch.testing.assert_close(rms_norm(x, weight, 1e-5).float(), expected, atol=tolerance, rtol=tolerance)


def test_leading_dimensions_are_kept(device: torch.device) -> None:
    """A strided tensor of three dimensions comes back in its shape; no row gives no row."""
    x = torch.randn(4, 3, 2, device=device).transpose(0, 1)[:, :, :]
    weight = torch.ones(2, device=device)
    torch.testing.assert_close(rms_norm(x, weight, 1e-6), rms_norm_reference(x, weight, 1e-6))
    assert rms_norm(torch.empty(0, 2, device=device), weight, 1e-6).shape == (0, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_reference_follows_the_formula(dtype: torch.dtype) -> None:
    """The mean of squares is taken in float32, whatever the dtype; one rounding at the end."""
    x, weight = torch.randn(7, 33).to(dtype), torch.randn(33).to(dtype)
    wide = x.double()
    expected = wide / (wide.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight.double()
    torch.testing.assert_close(rms_norm_reference(x, weight, 1e-5), expected.to(dtype))


def test_wrong_weight_is_refused() -> None:
    """The message has the found and the expected shape, or both dtypes."""
    with pytest.raises(ValueError, match=r"weight: found shape \(3,\), expected \(4,\)"):
        rms_norm(torch.zeros(2, 4), torch.zeros(3), 1e-5)
    with pytest.raises(ValueError, match=r"found torch\.float16"):
        rms_norm(torch.zeros(2, 4), torch.zeros(4, dtype=torch.float16), 1e-5)
    with pytest.raises(ValueError, match=r"found dtype torch\.int32"):
        rms_norm(torch.zeros(2, 4, dtype=torch.int32), torch.zeros(4), 1e-5)
