"""Where a model computes and in which number format."""

from typing import NamedTuple

import torch

from antiphon.runtime.errors import ConfigurationError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Place(NamedTuple):
    """A device, and the format of weights and activations on it.

    ``codes``: a checkpoint's own 4- and 8-bit codes are computed with where that is faster.
    """

    device: torch.device
    dtype: torch.dtype
    codes: bool = False


def choose_place(dtype: str, threads: int) -> Place:
    """The accelerator if there is one, else the processor with ``threads``.

    ``dtype`` auto is bfloat16 where the processor or accelerator computes it natively, else float32, or float16 on an
    accelerator; with the first two it also takes a quantised checkpoint's own codes. ``threads`` is torch's setting,
    which holds for the whole process: two engines with more than one each on few cores stall in each other's barriers
    (a 0.1 ms product took 8 ms).

    Raises:
        ConfigurationError: an unknown dtype or fewer than one thread.
    """
    if threads < 1:
        raise ConfigurationError(f"found {threads} threads, expected 1 or more")
    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = _dtype(dtype, device)
    return Place(device, chosen, codes=dtype == "auto" and chosen is not torch.float16)


def free_bytes(device: torch.device) -> int:
    """Memory of an accelerator that nobody holds; what torch keeps of freed tensors is given back first."""
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info(device)[0]


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        facts = torch.cpu.get_capabilities()
        return torch.bfloat16 if facts.get("avx512_bf16") or facts.get("amx_bf16") else torch.float32
    if name not in _DTYPES:
        raise ConfigurationError(f"found dtype {name!r}, expected auto, {', '.join(_DTYPES)}")
    return _DTYPES[name]
