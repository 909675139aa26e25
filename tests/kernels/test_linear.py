"""Matrix product with a weight: kernels against reference."""

from collections.abc import Callable

import pytest
import torch

from antiphon.kernels.ops.linear import linear
from antiphon.kernels.reference.linear import linear as linear_reference


def product(rows: int, width: int, depth: int, device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """x, weight and bias, so that results are about 1."""
    x = torch.randn(rows, depth, device=device)
    weight = torch.randn(width, depth, device=device) / depth**0.5
    return x.to(dtype), weight.to(dtype), torch.randn(width, device=device).to(dtype)


@pytest.mark.parametrize(
    ("rows", "width", "depth"),
    [(1, 5, 1030), (1, 5, 1), (3, 37, 301), (16, 65, 577), (17, 70, 64), (65, 300, 130), (130, 129, 33)],
)
def test_kernel_equals_reference(
    rows: int, width: int, depth: int, device: torch.device, dtype: torch.dtype, tolerance: float
) -> None:
    """One row, up to 16 and more, with sides that are no multiple of a tile's, with a bias."""
    x, weight, bias = product(rows, width, depth, device, dtype)
    expected = linear_reference(x.float(), weight.float(), bias.float())
    torch.testing.assert_close(linear(x, weight, bias).float(), expected, atol=tolerance, rtol=tolerance)


def test_depth_is_split_where_tiles_are_few(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device with many units the parts are added to the same result, and to the same bits every time."""
    from antiphon.kernels.device import linear as device_linear
    from antiphon.kernels.platform import DeviceFacts

    wide = DeviceFacts(name="wide", arch="unknown", units=132, memory_bytes=0)
    monkeypatch.setattr(device_linear, "facts_for", lambda _: wide)
    x, weight, bias = product(3, 40, 1100, device, torch.float32)
    plan = device_linear.plan_linear(x, weight, fixed=False)
    assert plan.splits == 2 and plan.splits * plan.split_depth >= 1100
    found = linear(x, weight, bias)
    torch.testing.assert_close(found, linear_reference(x, weight, bias), atol=2e-5, rtol=2e-5)
    assert torch.equal(found, linear(x, weight, bias))


@pytest.mark.usefixtures("rows_alike")
def test_batch_invariant_rows_are_equal_bit_by_bit(device: torch.device, dtype: torch.dtype) -> None:
    """A row alone, among three and among 150 gives the same numbers."""
    x, weight, bias = product(150, 130, 100, device, dtype)
    together = linear(x, weight, bias, batch_invariant=True)
    assert torch.equal(linear(x[:1], weight, bias, batch_invariant=True), together[:1])
    assert torch.equal(linear(x[147:], weight, bias, batch_invariant=True), together[147:])


@pytest.mark.parametrize("rows", [1, 4])
def test_what_lies_behind_the_input_is_not_used(rows: int, device: torch.device) -> None:
    """NaN before and after every tensor changes nothing: masks hold on all four sides of a tile."""
    width, depth = 33, 70
    around = torch.full((100 + rows, depth), float("nan"), device=device)
    around[50 : 50 + rows] = torch.randn(rows, depth, device=device)
    heavy = torch.full((100 + width, depth), float("nan"), device=device)
    heavy[50 : 50 + width] = torch.randn(width, depth, device=device)
    x, weight = around[50 : 50 + rows], heavy[50 : 50 + width]
    torch.testing.assert_close(linear(x, weight), linear_reference(x, weight), atol=1e-4, rtol=1e-4)


def test_leading_dimensions_are_kept(device: torch.device) -> None:
    """Any number of them; no row gives no row, and no input gives the bias."""
    x, weight, bias = product(6, 8, 20, device, torch.float32)
    torch.testing.assert_close(linear(x.view(2, 3, 20), weight), linear_reference(x, weight).view(2, 3, 8))
    assert linear(x.view(2, 3, 20)[:0], weight).shape == (0, 3, 8)
    assert torch.equal(linear(x[:3, :0].contiguous(), weight[:, :0].contiguous(), bias), bias.expand(3, 8))


def test_wrong_arguments_are_refused() -> None:
    """Shapes, strides, dtypes and devices are named with what was expected."""
    x, weight = torch.zeros(2, 4), torch.zeros(3, 4)
    with pytest.raises(ValueError, match=r"weight: found shape \(3, 5\), expected \(3, 4\)"):
        linear(x, torch.zeros(3, 5))
    with pytest.raises(ValueError, match=r"weight: found shape \(4,\), expected \[outputs, 4\]"):
        linear(x, torch.zeros(4))
    with pytest.raises(ValueError, match=r"bias: found shape \(4,\), expected \(3,\)"):
        linear(x, weight, torch.zeros(4))
    with pytest.raises(ValueError, match=r"weight: found torch\.float16 on cpu, expected torch\.float32 on cpu"):
        linear(x, weight.half())
    with pytest.raises(ValueError, match=r"weight: found torch\.float32 on meta"):
        linear(x, weight.to("meta"))
    with pytest.raises(ValueError, match=r"weight: found strides \(1, 3\), expected a contiguous tensor"):
        linear(x, torch.zeros(4, 3).T)
    with pytest.raises(ValueError, match="x: found strides"):
        linear(torch.zeros(4, 2).T, weight)
    with pytest.raises(ValueError, match=r"x: found dtype torch\.int8"):
        linear(x.to(torch.int8), weight)


@pytest.mark.gpu
@pytest.mark.parametrize(("rows", "invariant"), [(1, False), (16, False), (1, True), (300, True)])
def test_bf16_is_as_exact_as_torch(
    rows: int, invariant: bool, expect_within_twice: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]
) -> None:
    """On a device: error at most twice that of torch's own bf16 product."""
    torch.manual_seed(0)
    x, weight, bias = product(rows, 1000, 4096, torch.device("cuda"), torch.bfloat16)
    exact = linear_reference(x.float(), weight.float(), bias.float())
    expect_within_twice(linear(x, weight, bias, batch_invariant=invariant), linear_reference(x, weight, bias), exact)
