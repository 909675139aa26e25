"""What is known of the device under a tensor: name, architecture, size."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch


@dataclass(frozen=True, kw_only=True)
class DeviceFacts:
    """A device as torch describes it. ``arch`` is the name that tiles and cross-compilation use."""

    name: str
    arch: str  # "sm_90", "gfx942"; "cpu"; "unknown" for an accelerator without an entry in the registry
    units: int  # multiprocessors or compute units; a processor's torch threads
    memory_bytes: int  # of the device; 0 where torch does not say


@cache
def gpu_facts(index: int | None) -> DeviceFacts:
    """Of a CUDA or HIP device; torch calls both "cuda"."""
    found = torch.cuda.get_device_properties(torch.cuda.current_device() if index is None else index)
    arch = found.gcnArchName.partition(":")[0] if torch.version.hip else f"sm_{found.major}{found.minor}"
    return DeviceFacts(name=found.name, arch=arch, units=found.multi_processor_count, memory_bytes=found.total_memory)


def cpu_facts(_index: int | None) -> DeviceFacts:
    """Of the processor."""
    return DeviceFacts(name="cpu", arch="cpu", units=torch.get_num_threads(), memory_bytes=0)


def unknown_facts(device: torch.device) -> DeviceFacts:
    """Of an accelerator that the registry has no entry for."""
    return DeviceFacts(name=str(device), arch="unknown", units=1, memory_bytes=0)


def copy_ceiling(device: torch.device, *, megabytes: int = 1024, rounds: int = 20) -> float:
    """Bytes a second, read and written together, of the fastest of ``rounds`` copies: what no kernel can beat.

    Measured, because data sheets count what no program reaches (4.8 TB/s against 4.3 on an H200).

    Raises:
        ValueError: ``device`` is no CUDA or HIP device, whose clock this reads.
    """
    if device.type != "cuda":
        raise ValueError(f"found device {device}, expected a CUDA or HIP device: a copy is timed with its events")
    source = torch.ones(megabytes << 20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    fastest_s = float("inf")
    for _ in range(rounds):
        fastest_s = min(fastest_s, gpu_seconds(lambda: target.copy_(source)))
    return 2 * source.numel() / fastest_s


def gpu_seconds(work: Callable[[], object]) -> float:
    """Seconds that ``work`` takes on the current CUDA or HIP device, by the device's clock."""
    start: Any = torch.Event("cuda", enable_timing=True)
    end: Any = torch.Event("cuda", enable_timing=True)
    start.record()
    work()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1e3
