"""Argument checks that several ops share. They raise ValueError with what was found and what was expected."""

import functools
from collections.abc import Callable

import torch

FLOATS = (torch.float32, torch.float16, torch.bfloat16)


def once_a_kind(check: Callable[..., None]) -> Callable[..., None]:
    """``check(*tensors, **values)``, left out where shapes, strides, dtypes, devices and values are those that passed
    last.

    Every layer of a step calls an op with arguments of one kind, and to look at all of them takes as long as a small
    operation: for 30 layers, one token and two threads 4 of 28 ms.
    """
    passed: object = None

    @functools.wraps(check)
    def checked(*tensors: torch.Tensor | None, **values: object) -> None:
        nonlocal passed
        kind = [None if t is None else (t.shape, t.stride(), t.dtype, t.device) for t in tensors], values
        if kind != passed:
            check(*tensors, **values)
            passed = kind

    return checked


def expect_shape(name: str, tensor: torch.Tensor, expected: tuple[int, ...]) -> None:
    """``tensor`` has exactly this shape."""
    if tensor.shape != expected:
        raise ValueError(f"{name}: found shape {tuple(tensor.shape)}, expected {expected}")


def expect_float(name: str, tensor: torch.Tensor) -> None:
    """``tensor`` is one of the floating types that kernels are tested with."""
    if tensor.dtype not in FLOATS:
        raise ValueError(f"{name}: found dtype {tensor.dtype}, expected one of {', '.join(map(str, FLOATS))}")


def expect_like(name: str, tensor: torch.Tensor, other: torch.Tensor) -> None:
    """``tensor`` has the dtype and device of ``other``."""
    if tensor.dtype != other.dtype or tensor.device != other.device:
        raise ValueError(f"{name}: found {tensor.dtype} on {tensor.device}, expected {other.dtype} on {other.device}")


def expect_contiguous(name: str, tensor: torch.Tensor) -> None:
    """``tensor`` lies in memory as its shape says."""
    if not tensor.is_contiguous():
        raise ValueError(f"{name}: found strides {tensor.stride()}, expected a contiguous tensor")


def expect_quantised(dtype: torch.dtype) -> None:
    """``dtype`` is one that activations are quantised to."""
    if dtype not in (torch.int8, torch.float8_e4m3fn):
        raise ValueError(f"dtype: found {dtype}, expected torch.int8 or torch.float8_e4m3fn")


def rows_of(tensor: torch.Tensor) -> torch.Tensor:
    """``tensor`` as [rows, width] with a contiguous last dimension; copied only where its strides cannot say that."""
    rows = tensor.reshape(-1, tensor.shape[-1])
    return rows if rows.stride(1) == 1 else rows.contiguous()


def expect_table(name: str, tensor: torch.Tensor, shape: tuple[int, ...], device: torch.device) -> None:
    """``tensor`` is a table of float32 numbers, of this shape, on this device."""
    expect_shape(name, tensor, shape)
    if tensor.dtype is not torch.float32 or tensor.device != device:
        raise ValueError(f"{name}: found dtype {tensor.dtype} on {tensor.device}, expected torch.float32 on {device}")
