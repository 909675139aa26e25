"""Which implementation runs an op: decided by where the tensor lies, never by trying and catching."""

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import torch

from antiphon.kernels.platform import DeviceFacts, cpu_facts, gpu_facts, unknown_facts


class Backend(StrEnum):
    """How an op is carried out."""

    TRITON = "triton"  # compiled kernel, CUDA and HIP (torch calls both "cuda")
    INTERPRETER = "interpreter"  # the same kernel in Triton's interpreter, for tests without an accelerator
    REFERENCE = "reference"  # plain torch


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """A kind of device: how ops run on it, and how to ask one (by its index, None for the current) what it is."""

    backend: Backend
    facts: Callable[[int | None], DeviceFacts]


# By torch's device type. A device of another type is unknown: the torch references run there, correct and not fast.
ACCELERATORS: Mapping[str, Accelerator] = MappingProxyType(
    {
        "cuda": Accelerator(backend=Backend.TRITON, facts=gpu_facts),
        "cpu": Accelerator(backend=Backend.REFERENCE, facts=cpu_facts),
    }
)


def backend_for(tensor: torch.Tensor) -> Backend:
    """The backend for an op whose first argument is ``tensor``.

    TRITON_INTERPRET=1 is Triton's own switch: it reads it when a kernel is decorated, so it must be set before the
    first kernel of the process runs. It turns CPU tensors from the reference to the interpreter.

    Raises:
        ValueError: a bf16 tensor would reach the interpreter, which computes on its bit patterns without a word
            (triton#11584).
    """
    return backend_of(tensor.device.type, tensor.dtype)


@functools.cache
def backend_of(kind: str, dtype: torch.dtype) -> Backend:
    """The backend for tensors of ``dtype`` on a device of that kind, decided once: the environment is not read again.

    Raises:
        ValueError: as ``backend_for``.
    """
    accelerator = ACCELERATORS.get(kind)
    backend = accelerator.backend if accelerator else Backend.REFERENCE
    if kind == "cpu" and backend is Backend.REFERENCE and os.environ.get("TRITON_INTERPRET") == "1":
        backend = Backend.INTERPRETER
    if backend is Backend.INTERPRETER and dtype is torch.bfloat16:
        raise ValueError(
            "found a bf16 tensor with TRITON_INTERPRET=1, expected float32 or float16: "
            "the interpreter is silently wrong for bf16; convert the tensor or unset the variable"
        )
    return backend


def facts_for(tensor: torch.Tensor) -> DeviceFacts:
    """What is known of the device of ``tensor``; its ``arch`` chooses the row of the tile table."""
    accelerator = ACCELERATORS.get(tensor.device.type)
    return accelerator.facts(tensor.device.index) if accelerator else unknown_facts(tensor.device)
