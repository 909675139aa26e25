"""Matrix product with a packed weight: kernels against reference, and packing against the formula."""

from collections.abc import Callable

import pytest
import torch

from antiphon.kernels.ops.quantised_linear import quantised_linear
from antiphon.kernels.packed import (
    PackedLinear,
    pack_q4,
    pack_q8,
    pack_rows_fp8,
    pack_rows_int8,
    quantise_rows,
)
from antiphon.kernels.reference.quantised_linear import quantised_linear as quantised_linear_reference

KINDS = ["q4_0", "q4_1", "q8", "int8", "fp8"]


def packed(kind: str, width: int, depth: int, device: torch.device) -> tuple[PackedLinear, torch.Tensor]:
    """A random weight and what it means, by the formula."""
    scales = torch.rand(width, depth // 32, device=device).half() / 16 + 0.01
    spread = scales.float().repeat_interleave(32, 1)
    if kind.startswith("q4"):
        codes = torch.randint(0, 16, (width, depth), dtype=torch.uint8, device=device)
        if kind == "q4_0":
            return pack_q4(codes, scales), (codes.float() - 8) * spread
        offsets = torch.randn_like(scales) / 4
        return pack_q4(codes, scales, offsets), codes.float() * spread + offsets.float().repeat_interleave(32, 1)
    if kind == "fp8":
        eights = torch.randn(width, depth, device=device).to(torch.float8_e4m3fn)
        eights.view(torch.uint8)[0, :4] = torch.tensor([0x01, 0x87, 0x7E, 0x80], device=device)  # subnormals, 448, -0
        return pack_rows_fp8(eights, scales[:, 0].float()), eights.float() * scales[:, :1].float()
    codes = torch.randint(-128, 128, (width, depth), dtype=torch.int8, device=device)
    if kind == "q8":
        return pack_q8(codes, scales), codes.float() * spread
    return pack_rows_int8(codes, scales[:, 0].float()), codes.float() * scales[:, :1].float()


@pytest.mark.parametrize("kind", KINDS)
def test_packing_keeps_the_meaning(kind: str) -> None:
    """Dequantising gives code * scale + offset for every weight."""
    torch.manual_seed(0)
    weight, meaning = packed(kind, 5, 96, torch.device("cpu"))
    torch.testing.assert_close(weight.dequantise(), meaning, atol=1e-6, rtol=1e-6)
    assert weight.codes.numel() * 32 == 5 * 96 * weight.kind.bits


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rows", "width", "depth"), [(1, 37, 320), (3, 37, 320), (17, 70, 96), (65, 66, 288)])
def test_kernel_equals_the_dequantised_product(
    kind: str, rows: int, width: int, depth: int, device: torch.device, dtype: torch.dtype
) -> None:
    """One row, up to 16 and more, with sides that are no multiple of a tile's; float32 sums for every kind."""
    weight, meaning = packed(kind, width, depth, device)
    x = torch.randn(rows, depth, device=device).to(dtype)
    expected = x.float() @ meaning.T
    limit = 2e-6 if dtype is torch.float32 else 1e-3  # of the largest: one rounding of a float16 result is 5e-4
    assert (quantised_linear(x, weight).float() - expected).abs().max() <= limit * expected.abs().max()


@pytest.mark.parametrize("kind", ["q4_1", "int8"])
def test_depth_is_split_where_tiles_are_few(kind: str, device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device with many units the parts are added to the same result, and to the same bits every time."""
    from antiphon.kernels.device import quantised_linear as device_quantised
    from antiphon.kernels.platform import DeviceFacts

    wide = DeviceFacts(name="wide", arch="unknown", units=132, memory_bytes=0)
    monkeypatch.setattr(device_quantised, "facts_for", lambda _: wide)
    weight, meaning = packed(kind, 40, 1056, device)
    x = torch.randn(3, 1056, device=device)
    assert device_quantised.plan_quantised(x, weight, fixed=False).splits > 1
    expected = x @ meaning.T
    found = quantised_linear(x, weight)
    assert (found - expected).abs().max() <= 2e-6 * expected.abs().max()
    assert torch.equal(found, quantised_linear(x, weight))


def test_batch_invariant_rows_are_equal_bit_by_bit(device: torch.device, dtype: torch.dtype) -> None:
    """A row alone, among three and among 70 gives the same numbers."""
    weight, _ = packed("q4_1", 40, 96, device)
    x = torch.randn(70, 96, device=device).to(dtype)
    together = quantised_linear(x, weight, batch_invariant=True)
    assert torch.equal(quantised_linear(x[:1], weight, batch_invariant=True), together[:1])
    assert torch.equal(quantised_linear(x[67:], weight, batch_invariant=True), together[67:])


def test_leading_dimensions_are_kept(device: torch.device) -> None:
    """Any number of them; no row gives no row."""
    weight, meaning = packed("q4_1", 6, 64, device)
    x = torch.randn(2, 3, 64, device=device)
    torch.testing.assert_close(quantised_linear(x, weight), x @ meaning.T, atol=1e-4, rtol=1e-4)
    assert quantised_linear(x[:0], weight).shape == (0, 3, 6)


@pytest.mark.parametrize(("dtype", "largest", "error"), [(torch.int8, 127.0, 0.5), (torch.float8_e4m3fn, 448.0, 16.0)])
def test_quantised_rows_are_near_the_weight(dtype: torch.dtype, largest: float, error: float) -> None:
    """A row's largest magnitude is the largest code, no weight is further than half a step, zeros stay zero."""
    torch.manual_seed(0)
    weight = torch.randn(4, 64)
    weight[2] = 0
    codes, scales = quantise_rows(weight, dtype)
    back = (pack_rows_int8 if dtype is torch.int8 else pack_rows_fp8)(codes, scales).dequantise()
    assert ((back - weight).abs() <= error * scales[:, None] + 1e-7).all()
    assert not back[2].any()
    assert codes.float().abs().amax(1).tolist() == [largest, largest, 0.0, largest]


def test_wrong_weights_are_refused() -> None:
    """Packing names what does not fit a layout, before it makes a weight that means something else."""
    codes, scales = torch.zeros(2, 64, dtype=torch.uint8), torch.ones(2, 2)
    with pytest.raises(ValueError, match="codes: found 16, expected 4-bit codes from 0 to 15"):
        pack_q4(codes + 16, scales)
    with pytest.raises(ValueError, match=r"codes: found torch\.uint8 of shape \(2, 63\), expected .* a multiple of 32"):
        pack_q4(codes[:, :63], scales)
    with pytest.raises(ValueError, match=r"offsets: found shape \(2,\), expected \(2, 2\)"):
        pack_q4(codes, scales, scales[:, 0])
    with pytest.raises(ValueError, match=r"codes: found torch\.uint8 .* expected torch\.int8"):
        pack_q8(codes, scales)
    with pytest.raises(ValueError, match=r"scales: found shape \(2, 2\), expected \(2,\)"):
        pack_rows_int8(codes.view(torch.int8), scales)
    with pytest.raises(ValueError, match="found NaN"):
        pack_rows_fp8((codes + 0x7F).view(torch.float8_e4m3fn), scales[:, 0])
    with pytest.raises(ValueError, match=r"dtype: found torch\.int16"):
        quantise_rows(torch.zeros(2, 32), torch.int16)
    with pytest.raises(ValueError, match="expected finite numbers"):
        quantise_rows(torch.full((2, 32), float("inf")), torch.int8)


def test_wrong_inputs_are_refused() -> None:
    """Width, strides, dtype and device of x are named with what was expected."""
    weight = pack_q4(torch.zeros(2, 64, dtype=torch.uint8), torch.ones(2, 2))
    with pytest.raises(ValueError, match=r"x: found shape \(3, 32\), expected a last dimension of 64"):
        quantised_linear(torch.zeros(3, 32), weight)
    with pytest.raises(ValueError, match="x: found strides"):
        quantised_linear(torch.zeros(64, 3).T, weight)
    with pytest.raises(ValueError, match=r"x: found dtype torch\.int8"):
        quantised_linear(torch.zeros(3, 64, dtype=torch.int8), weight)
    with pytest.raises(ValueError, match="x: found device meta, expected that of the weight, cpu"):
        quantised_linear(torch.zeros(3, 64, device="meta"), weight)


@pytest.mark.gpu
@pytest.mark.parametrize("rows", [1, 16, 200])
@pytest.mark.parametrize("kind", KINDS)
def test_bf16_is_as_exact_as_torch(
    kind: str, rows: int, expect_within_twice: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]
) -> None:
    """On a device: error at most twice that of dequantising to bf16 and torch's own product."""
    torch.manual_seed(0)
    weight, meaning = packed(kind, 1000, 4096, torch.device("cuda"))
    x = torch.randn(rows, 4096, device="cuda").bfloat16()
    expect_within_twice(quantised_linear(x, weight), quantised_linear_reference(x, weight), x.float() @ meaning.T)
