"""Where a model computes and in which number format."""

from typing import NamedTuple

import torch

from antiphon.runtime.errors import ConfigurationError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Place(NamedTuple):
    """A device, and the format of weights and activations on it."""

    device: torch.device
    dtype: torch.dtype


def choose_place(dtype: str, threads: int) -> Place:
    """The accelerator if there is one, else the processor with ``threads``.

    ``dtype`` auto is bfloat16 where the processor or accelerator computes it natively, else float32. ``threads`` is
    torch's setting, which holds for the whole process: two engines with more than one each on few cores stall in each
    other's barriers (a 0.1 ms product took 8 ms).

    Raises:
        ConfigurationError: an unknown dtype or fewer than one thread.
    """
    if threads < 1:
        raise ConfigurationError(f"found {threads} threads, expected 1 or more")
    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Place(device, _dtype(dtype, device))


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        facts = torch.cpu.get_capabilities()
        return torch.bfloat16 if facts.get("avx512_bf16") or facts.get("amx_bf16") else torch.float32
    if name not in _DTYPES:
        raise ConfigurationError(f"found dtype {name!r}, expected auto, {', '.join(_DTYPES)}")
    return _DTYPES[name]
