"""The mean of a text's tokens at length 1: kernel against reference."""

from collections.abc import Callable

import pytest
import torch

from antiphon.kernels.ops import mean_pool
from antiphon.kernels.reference.mean_pool import mean_pool as mean_pool_reference


@pytest.mark.parametrize("width", [384, 33])
def test_kernel_equals_reference(width: int, device: torch.device, dtype: torch.dtype) -> None:
    """Texts of one token, of none, across the kernel's turns and full; padding is poison and is not read."""
    lengths = torch.tensor([1, 17, 0, 40], device=device)
    hidden = torch.randn(4, 40, width, device=device, dtype=dtype)
    outside = torch.arange(40, device=device) >= lengths[:, None]
    hidden[outside] = torch.nan
    found = mean_pool(hidden, lengths)
    expected = mean_pool_reference(hidden.float(), lengths)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=2e-5)
    assert found.dtype is torch.float32
    torch.testing.assert_close(found.norm(dim=1), torch.tensor([1.0, 1.0, 0.0, 1.0], device=device))


def test_reference_follows_the_formula() -> None:
    """The mean over the tokens there are, divided by its length."""
    hidden = torch.randn(2, 3, 4)
    mean = hidden[1, :2].mean(0)
    torch.testing.assert_close(mean_pool(hidden, torch.tensor([3, 2]))[1], mean / mean.norm())


def test_no_text_gives_no_vector(device: torch.device) -> None:
    """An empty batch is legal."""
    assert mean_pool(torch.empty(0, 3, 8, device=device), torch.empty(0, dtype=torch.int64, device=device)).shape == (
        0,
        8,
    )


@pytest.mark.gpu
def test_bf16_on_a_device(expect_within_twice: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]) -> None:
    """At most twice torch's own error."""
    hidden = torch.randn(8, 100, 384, device="cuda", dtype=torch.bfloat16)
    lengths = torch.tensor([100, 1, 17, 50, 99, 3, 64, 16], device="cuda")
    exact = mean_pool_reference(hidden.float(), lengths)
    expect_within_twice(mean_pool(hidden, lengths), mean_pool_reference(hidden, lengths), exact)


def test_wrong_arguments_are_refused() -> None:
    """Shapes, dtypes and lengths beyond the tensor are named."""
    hidden = torch.zeros(2, 3, 4)
    with pytest.raises(ValueError, match="lengths: found 4, expected 0 to 3"):
        mean_pool(hidden, torch.tensor([4, 1]))
    with pytest.raises(ValueError, match="lengths: found -1"):
        mean_pool(hidden, torch.tensor([1, -1]))
    with pytest.raises(ValueError, match=r"lengths: found torch\.int32"):
        mean_pool(hidden, torch.tensor([1, 1], dtype=torch.int32))
    with pytest.raises(ValueError, match=r"hidden: found shape \(3, 4\)"):
        mean_pool(hidden[0], torch.tensor([1, 1]))
