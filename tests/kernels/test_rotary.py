"""Rotary position embedding: kernel against reference."""

import pytest
import torch

from antiphon.kernels.ops import rotary
from antiphon.kernels.reference.rotary import rotary as rotary_reference
from antiphon.kernels.rotation import Rotation


def tables(tokens: int, half: int, device: torch.device) -> Rotation:
    """Arbitrary angles."""
    angles = torch.randn(tokens, half, device=device) * 3
    return Rotation(angles.cos(), angles.sin())


@pytest.mark.parametrize(("tokens", "heads", "half"), [(1, 12, 32), (5, 3, 24), (2, 1, 1)])
def test_kernel_equals_reference(
    tokens: int, heads: int, half: int, device: torch.device, dtype: torch.dtype, tolerance: float
) -> None:
    """Head counts and widths that are not powers of two included, on a strided slice of a fused projection."""
    fused = torch.randn(tokens, heads + 2, 2 * half, device=device, dtype=dtype)
    x = fused[:, :heads]
    turn = tables(tokens, half, device)
    expected = rotary_reference(x.float(), turn)
    torch.testing.assert_close(rotary(x, turn).float(), expected, atol=tolerance, rtol=tolerance)


def test_reference_follows_the_formula() -> None:
    """Element i turns with element i + half, as in transformers' ``rotate_half``."""
    x = torch.randn(4, 2, 8)
    turn = tables(4, 4, torch.device("cpu"))
    first, second = x[..., :4], x[..., 4:]
    turned = torch.cat((-second, first), dim=-1)
    expected = x * turn.cos.repeat(1, 2)[:, None] + turned * turn.sin.repeat(1, 2)[:, None]
    torch.testing.assert_close(rotary_reference(x, turn), expected)


def test_rotation_keeps_lengths_and_angle_zero_is_identity() -> None:
    """Each pair is turned, not scaled."""
    x = torch.randn(4, 2, 8)
    turn = tables(4, 4, torch.device("cpu"))
    torch.testing.assert_close(rotary(x, turn).norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(rotary(x, Rotation(torch.ones(4, 4), torch.zeros(4, 4))), x)


def test_wrong_arguments_are_refused() -> None:
    """Tables of another length or dtype, and heads that cannot be halved, are named."""
    x, table = torch.zeros(3, 2, 8), torch.zeros(3, 4)
    with pytest.raises(ValueError, match=r"sin: found shape \(2, 4\), expected \(3, 4\)"):
        rotary(x, Rotation(table, torch.zeros(2, 4)))
    with pytest.raises(ValueError, match=r"cos: found dtype torch.float16"):
        rotary(x, Rotation(table.half(), table))
    with pytest.raises(ValueError, match="even width"):
        rotary(torch.zeros(3, 2, 7), Rotation(table, table))
