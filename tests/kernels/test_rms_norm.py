"""RMS norm, with a residual and with quantisation: kernel against reference."""

from collections.abc import Callable

import pytest
import torch

from antiphon.kernels.ops import add_rms_norm, rms_norm, rms_norm_quant
from antiphon.kernels.reference.rms_norm import add_rms_norm as add_rms_norm_reference
from antiphon.kernels.reference.rms_norm import rms_norm as rms_norm_reference
from antiphon.kernels.reference.rms_norm import rms_norm_quant as rms_norm_quant_reference

WithinTwice = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]
SHAPES = pytest.mark.parametrize(("rows", "width"), [(1, 576), (5, 855), (2, 1)])


@SHAPES
def test_kernel_equals_reference(
    rows: int, width: int, device: torch.device, dtype: torch.dtype, tolerance: float
) -> None:
    """Widths that are not powers of two included, each row is normed on its own."""
    x = torch.randn(rows, width, device=device, dtype=dtype) * 3
    weight = torch.randn(width, device=device, dtype=dtype)
    expected = rms_norm_reference(x.float(), weight.float(), 1e-5)
    torch.testing.assert_close(rms_norm(x, weight, 1e-5).float(), expected, atol=tolerance, rtol=tolerance)


@SHAPES
def test_residual_is_added_rounded_and_returned(
    rows: int, width: int, device: torch.device, dtype: torch.dtype, tolerance: float
) -> None:
    """The sum is exactly torch's, and what is normed is that sum; inputs stay as they are."""
    x, residual = (torch.randn(rows, width, device=device, dtype=dtype) for _ in range(2))
    before = x.clone(), residual.clone()
    weight = torch.randn(width, device=device, dtype=dtype)
    normed, total = add_rms_norm(x, residual, weight, 1e-5)
    assert torch.equal(total, x + residual)
    expected, _ = add_rms_norm_reference(x + residual, torch.zeros_like(x), weight, 1e-5)
    torch.testing.assert_close(normed, expected, atol=tolerance, rtol=tolerance)
    assert torch.equal(x, before[0])
    assert torch.equal(residual, before[1])


@pytest.mark.parametrize("code", [torch.int8, torch.float8_e4m3fn], ids=["int8", "fp8"])
@SHAPES
def test_quantised_codes_and_scales(rows: int, width: int, code: torch.dtype, device: torch.device) -> None:
    """Codes times scale is the norm within half a step; scales are the reference's, codes too but for rare ties."""
    x = torch.randn(rows, width, device=device) * 3
    x[-1] = 0  # a row without any magnitude has scale 0, not NaN
    weight = torch.randn(width, device=device)
    codes, scale = rms_norm_quant(x, weight, 1e-5, code)
    expected_codes, expected_scale = rms_norm_quant_reference(x, weight, 1e-5, code)
    torch.testing.assert_close(scale, expected_scale)
    assert codes.dtype is code
    assert (codes.float() != expected_codes.float()).float().mean() < 0.01
    norm = rms_norm_reference(x, weight, 1e-5)
    step = scale[:, None] if code is torch.int8 else norm.abs() / 8 + scale[:, None] * 2**-9
    assert ((codes.float() * scale[:, None] - norm).abs() <= step / 2 * 1.001 + 1e-7).all()


def test_rows_may_be_strided(device: torch.device) -> None:
    """A slice of a wider tensor is read where it lies: what is beside it, here NaN, is not."""
    wide = torch.full((3, 100), torch.nan, device=device)
    wide[:, 10:50] = torch.randn(3, 40, device=device)
    x, weight = wide[:, 10:50], torch.randn(40, device=device)
    torch.testing.assert_close(rms_norm(x, weight, 1e-6), rms_norm_reference(x.contiguous(), weight, 1e-6))
    normed, total = add_rms_norm(x, x, weight, 1e-6)
    torch.testing.assert_close(normed, rms_norm_reference(2 * x.contiguous(), weight, 1e-6))
    assert torch.equal(total, 2 * x)


def test_leading_dimensions_are_kept(device: torch.device) -> None:
    """A strided tensor of three dimensions comes back in its shape; no row gives no row."""
    x = torch.randn(4, 3, 2, device=device).transpose(0, 1)
    weight = torch.ones(2, device=device)
    torch.testing.assert_close(rms_norm(x, weight, 1e-6), rms_norm_reference(x, weight, 1e-6))
    codes, scale = rms_norm_quant(x, weight, 1e-6, torch.int8)
    assert (codes.shape, scale.shape) == (x.shape, x.shape[:2])
    empty = torch.empty(0, 2, device=device)
    assert rms_norm(empty, weight, 1e-6).shape == (0, 2)
    assert [each.shape for each in add_rms_norm(empty, empty, weight, 1e-6)] == [(0, 2), (0, 2)]
    assert [each.shape for each in rms_norm_quant(empty, weight, 1e-6, torch.int8)] == [(0, 2), (0,)]


@pytest.mark.gpu
def test_bf16_on_a_device(expect_within_twice: WithinTwice) -> None:
    """At most twice torch's own error, at the width of an 8B model."""
    x = torch.randn(33, 4096, device="cuda", dtype=torch.bfloat16)
    residual, weight = torch.randn_like(x), torch.randn_like(x[0])
    exact = rms_norm_reference(x.float(), weight.float(), 1e-5)
    expect_within_twice(rms_norm(x, weight, 1e-5), rms_norm_reference(x, weight, 1e-5), exact)
    exact = rms_norm_reference(x.float() + residual.float(), weight.float(), 1e-5)
    theirs, _ = add_rms_norm_reference(x, residual, weight, 1e-5)
    expect_within_twice(add_rms_norm(x, residual, weight, 1e-5)[0], theirs, exact)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_reference_follows_the_formula(dtype: torch.dtype) -> None:
    """The mean of squares is taken in float32, whatever the dtype; one rounding at the end."""
    x, weight = torch.randn(7, 33).to(dtype), torch.randn(33).to(dtype)
    wide = x.double()
    expected = wide / (wide.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight.double()
    torch.testing.assert_close(rms_norm_reference(x, weight, 1e-5), expected.to(dtype))


def test_wrong_arguments_are_refused() -> None:
    """The message has the found and the expected shape, or both dtypes."""
    x, weight = torch.zeros(2, 4), torch.zeros(4)
    with pytest.raises(ValueError, match=r"weight: found shape \(3,\), expected \(4,\)"):
        rms_norm(x, torch.zeros(3), 1e-5)
    with pytest.raises(ValueError, match=r"found torch\.float16"):
        rms_norm(x, torch.zeros(4, dtype=torch.float16), 1e-5)
    with pytest.raises(ValueError, match=r"found dtype torch\.int32"):
        rms_norm(x.int(), weight, 1e-5)
    with pytest.raises(ValueError, match=r"residual: found shape \(1, 4\), expected \(2, 4\)"):
        add_rms_norm(x, x[:1], weight, 1e-5)
    with pytest.raises(ValueError, match=r"dtype: found torch\.uint8, expected torch\.int8"):
        rms_norm_quant(x, weight, 1e-5, torch.uint8)
