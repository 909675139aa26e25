"""SiLU-gated product: kernel against reference."""

from collections.abc import Callable

import pytest
import torch

from antiphon.kernels.ops import silu_mul, silu_mul_quant
from antiphon.kernels.reference.silu_mul import silu_mul as silu_mul_reference
from antiphon.kernels.reference.silu_mul import silu_mul_quant as silu_mul_quant_reference


@pytest.mark.parametrize(("rows", "width"), [(1, 1536), (3, 855), (2, 1)])
def test_kernel_equals_reference(
    rows: int, width: int, device: torch.device, dtype: torch.dtype, tolerance: float
) -> None:
    """Widths beyond one block and not a multiple of it included."""
    gate_up = torch.randn(rows, 2 * width, device=device, dtype=dtype) * 2
    expected = silu_mul_reference(gate_up.float())
    torch.testing.assert_close(silu_mul(gate_up).float(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("code", [torch.int8, torch.float8_e4m3fn], ids=["int8", "fp8"])
def test_quantised_codes_and_scales(code: torch.dtype, device: torch.device) -> None:
    """Scales are the reference's, and so are the codes, but for rare ties; a row of zeros has scale 0."""
    gate_up = torch.randn(3, 2 * 855, device=device) * 2
    gate_up[-1] = 0
    codes, scale = silu_mul_quant(gate_up, code)
    expected_codes, expected_scale = silu_mul_quant_reference(gate_up, code)
    torch.testing.assert_close(scale, expected_scale)
    assert codes.dtype is code
    assert (codes.float() != expected_codes.float()).float().mean() < 0.01
    assert codes[:2].float().abs().amax(1).tolist() == [127.0 if code is torch.int8 else 448.0] * 2


def test_e4m3_rounds_like_torch(device: torch.device) -> None:
    """Bit for bit, for every float16 in e4m3's range: ties, subnormals and both zeros included.

    A gate of 64 is its own SiLU, and a row whose largest value is 448 has scale 1, so the values arrive as they are.
    """
    every = torch.arange(2**16, dtype=torch.int32).to(torch.uint16).view(torch.float16).float()
    values = every[every.abs() <= 448].to(device)
    codes, scale = silu_mul_quant(torch.cat((torch.full_like(values, 64), values / 64))[None], torch.float8_e4m3fn)
    assert scale.item() == 1
    assert torch.equal(codes[0].view(torch.uint8), values.to(torch.float8_e4m3fn).view(torch.uint8))


def test_leading_dimensions_are_kept(device: torch.device) -> None:
    """Only the last dimension is halved, strided rows are read where they lie; no row gives no row."""
    wide = torch.randn(2, 3, 20, device=device)
    gate_up = wide[..., 6:14]
    torch.testing.assert_close(silu_mul(gate_up), silu_mul_reference(gate_up))
    assert [each.shape for each in silu_mul_quant(gate_up, torch.int8)] == [(2, 3, 4), (2, 3)]
    assert silu_mul(torch.empty(0, 8, device=device)).shape == (0, 4)


@pytest.mark.gpu
def test_bf16_on_a_device(expect_within_twice: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]) -> None:
    """At most twice torch's own error, at the width of an 8B model."""
    gate_up = torch.randn(33, 2 * 14336, device="cuda", dtype=torch.bfloat16)
    expect_within_twice(silu_mul(gate_up), silu_mul_reference(gate_up), silu_mul_reference(gate_up.float()))


def test_wrong_arguments_are_refused() -> None:
    """Gate and up must have the same width; only two dtypes are quantised to."""
    with pytest.raises(ValueError, match="found a last dimension of 7"):
        silu_mul(torch.zeros(2, 7))
    with pytest.raises(ValueError, match=r"dtype: found torch\.float16"):
        silu_mul_quant(torch.zeros(2, 8), torch.float16)
