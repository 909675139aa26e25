"""Argument checks that several ops share. They raise ValueError with what was found and what was expected."""

import torch

FLOATS = (torch.float32, torch.float16, torch.bfloat16)


def expect_shape(name: str, tensor: torch.Tensor, expected: tuple[int, ...]) -> None:
    """``tensor`` has exactly this shape."""
    if tuple(tensor.shape) != expected:
        raise ValueError(f"{name}: found shape {tuple(tensor.shape)}, expected {expected}")


def expect_float(name: str, tensor: torch.Tensor) -> None:
    """``tensor`` is one of the floating types that kernels are tested with."""
    if tensor.dtype not in FLOATS:
        raise ValueError(f"{name}: found dtype {tensor.dtype}, expected one of {', '.join(map(str, FLOATS))}")


def expect_like(name: str, tensor: torch.Tensor, other: torch.Tensor) -> None:
    """``tensor`` has the dtype and device of ``other``."""
    if tensor.dtype != other.dtype or tensor.device != other.device:
        raise ValueError(f"{name}: found {tensor.dtype} on {tensor.device}, expected {other.dtype} on {other.device}")
