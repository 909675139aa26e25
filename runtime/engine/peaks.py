"""What the hardware reaches at best: the ceilings that utilisation is a share of."""

import time
from collections.abc import Callable

import torch

from antiphon.runtime.engine.device import choose_place
from antiphon.runtime.engine.metrics import Peaks

_REPEATS = 5


def measure_peaks(dtype: str, threads: int) -> Peaks:
    """The best of a few large matrix products, and of a few copies of what no cache holds (bytes read and written).

    Takes about a second. ``dtype`` and ``threads`` as ``choose_place`` takes them, for the whole process.
    """
    place = choose_place(dtype, threads)
    on_cpu = place.device.type == "cpu"
    width = 1024 if on_cpu else 8192
    left, right = (torch.rand(width, width).to(place.device, place.dtype) for _ in range(2))
    source = torch.zeros(2**26 if on_cpu else 2**29, dtype=torch.float32, device=place.device)
    target = torch.empty_like(source)
    product_s, copy_s = [], []
    for _ in range(_REPEATS):
        product_s.append(_seconds(lambda: torch.mm(left, right), place.device))
        copy_s.append(_seconds(lambda: target.copy_(source), place.device))
    moved = 2 * source.numel() * source.element_size()
    return Peaks(flops_per_s=2 * width**3 / min(product_s), bytes_per_s=moved / min(copy_s))


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    _wait(device)
    began_s = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - began_s


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
