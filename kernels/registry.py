"""Which implementation runs an op: decided by where the tensor lies, never by trying and catching."""

import os
from enum import StrEnum

import torch


class Backend(StrEnum):
    """How an op is carried out."""

    TRITON = "triton"  # compiled kernel, CUDA and HIP (torch calls both "cuda")
    INTERPRETER = "interpreter"  # the same kernel in Triton's interpreter, for tests without an accelerator
    REFERENCE = "reference"  # plain torch


def backend_for(tensor: torch.Tensor) -> Backend:
    """The backend for an op whose first argument is ``tensor``.

    TRITON_INTERPRET=1 is Triton's own switch: it reads it when a kernel is decorated, so it must be set before the
    first kernel of the process runs.

    Raises:
        ValueError: a bf16 tensor would reach the interpreter, which computes on its bit patterns without a word
            (triton#11584).
    """
    if tensor.is_cuda:
        return Backend.TRITON
    if os.environ.get("TRITON_INTERPRET") != "1":
        return Backend.REFERENCE
    if tensor.dtype is torch.bfloat16:
        raise ValueError(
            "found a bf16 tensor with TRITON_INTERPRET=1, expected float32 or float16: "
            "the interpreter is silently wrong for bf16; convert the tensor or unset the variable"
        )
    return Backend.INTERPRETER
