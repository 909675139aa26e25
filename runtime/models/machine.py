"""What the machine, or the container, says of itself: free memory, processor, accelerators. Only Linux does."""

import platform
import re
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/")
_UNLIMITED: Final = 1 << 60  # what version 1 of control groups writes for no limit is near 2**63


def available_memory(root: Path = _ROOT) -> int | None:
    """Bytes that a new process may take without swapping: the least of what the kernel and the control group say.

    None where the system does not say, and where models go to an accelerator with a memory of its own.
    """
    if accelerators(root):
        return None
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _text(root / "proc/meminfo"), re.M)
    left = [int(found[1]) * 1024] if found else []
    for limit, usage, statistics in _control_groups(root):
        most, used = _text(limit).strip(), _text(usage).strip()
        if most.isdigit() and used.isdigit() and int(most) < _UNLIMITED:
            cached = re.search(r"^(?:total_)?inactive_file (\d+)", _text(statistics), re.M)
            left.append(max(0, int(most) - int(used) + (int(cached[1]) if cached else 0)))
    return min(left, default=None)


def accelerators(root: Path = _ROOT) -> tuple[str, ...]:
    """Names of the GPUs whose drivers are loaded: NVIDIA's, and AMD's compute devices."""
    nvidia = [
        re.search(r"^Model:\s*(.+)$", _text(file), re.M)
        for file in sorted((root / "proc/driver/nvidia/gpus").glob("*/information"))
    ]
    amd = [
        _text(node / "name").strip() or "amd"
        for node in sorted((root / "sys/class/kfd/kfd/topology/nodes").glob("*"))
        if re.search(r"^simd_count [1-9]", _text(node / "properties"), re.M)
    ]
    return (*(found[1].strip() for found in nvidia if found), *amd)


def computes_bfloat16(root: Path = _ROOT) -> bool:
    """Whether the processor has instructions for it, which is when ``auto`` takes it (engine/device.py asks torch)."""
    found = re.search(r"^flags\s*:(.+)$", _text(root / "proc/cpuinfo"), re.M)
    return found is not None and not {"avx512_bf16", "amx_bf16"}.isdisjoint(found[1].split())


def machine_name(root: Path = _ROOT) -> str:
    """What a measurement of speed depends on: the accelerators, or else the processor."""
    found = re.search(r"^model name\s*:\s*(.+)$", _text(root / "proc/cpuinfo"), re.M)
    return " + ".join(accelerators(root)) or (found[1].strip() if found else platform.machine())


def _control_groups(root: Path) -> list[tuple[Path, Path, Path]]:
    """(limit, usage, statistics) of the process's group and those above it, in either version."""
    groups = root / "sys/fs/cgroup"
    found = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            top, names = groups, ("memory.max", "memory.current", "memory.stat")
        elif "memory" in controllers.split(","):
            top, names = groups / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")
        else:
            continue
        inner = top / path.lstrip("/")
        # Inside a container the path may be the host's, which is not there: its own group is then the top.
        for folder in [inner, *inner.parents]:
            if folder.is_relative_to(top):
                limit, usage, statistics = (folder / name for name in names)
                found.append((limit, usage, statistics))
    return found


def _text(file: Path) -> str:
    """The file's text; nothing where it cannot be read, as on other systems."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
