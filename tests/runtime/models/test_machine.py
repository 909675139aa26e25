"""What the machine says of itself, from files as Linux writes them."""

from pathlib import Path

import torch

from antiphon.runtime.models.machine import accelerators, available_memory, computes_bfloat16, machine_name

MB = 1 << 20


def write(root: Path, files: dict[str, str]) -> Path:
    """A root folder with these files."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_the_kernel_says_what_is_available(tmp_path: Path) -> None:
    """MemAvailable, in kibibytes; a system without it says nothing."""
    assert available_memory(tmp_path) is None
    root = write(tmp_path, {"proc/meminfo": "MemTotal: 9000000 kB\nMemAvailable:   2048 kB\n"})
    assert available_memory(root) == 2 * MB


def test_a_control_group_says_less(tmp_path: Path) -> None:
    """Version 2: the tightest of the groups around the process; what files cache can be had back."""
    root = write(
        tmp_path,
        {
            "proc/meminfo": "MemAvailable: 1048576 kB\n",
            "proc/self/cgroup": "0::/outer/inner\n",
            "sys/fs/cgroup/outer/memory.max": f"{100 * MB}\n",
            "sys/fs/cgroup/outer/memory.current": f"{90 * MB}\n",
            "sys/fs/cgroup/outer/memory.stat": f"anon 5\ninactive_file {20 * MB}\n",
            "sys/fs/cgroup/outer/inner/memory.max": "max\n",
            "sys/fs/cgroup/outer/inner/memory.current": f"{80 * MB}\n",
        },
    )
    assert available_memory(root) == 30 * MB


def test_a_container_of_version_1(tmp_path: Path) -> None:
    """Its path is the host's, so the group at the top counts; a limit beyond any memory is none."""
    files = {
        "proc/meminfo": "MemAvailable: 1048576 kB\n",
        "proc/self/cgroup": "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{70 * MB}\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{80 * MB}\n",
        "sys/fs/cgroup/memory/memory.stat": f"total_inactive_file {15 * MB}\n",
    }
    assert available_memory(write(tmp_path, files)) == 5 * MB
    (tmp_path / "sys/fs/cgroup/memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert available_memory(tmp_path) == 1024 * MB


def test_bfloat16_is_computed_where_torch_says_so(tmp_path: Path) -> None:
    """By the processor's flags, as the engine's choice of a format goes by torch's; a system without them has none."""
    flags = torch.cpu.get_capabilities()
    assert computes_bfloat16() == bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))
    assert not computes_bfloat16(tmp_path)
    for extra, expected in (("avx2 avx512f", False), ("avx512_bf16", True), ("amx_bf16 amx_tile", True)):
        root = write(tmp_path, {"proc/cpuinfo": f"model name\t: A Processor\nflags\t\t: fpu {extra}\nbugs\t:\n"})
        assert computes_bfloat16(root) is expected


def test_accelerators_are_named_and_their_memory_is_another(tmp_path: Path) -> None:
    """By the files of their drivers; a processor's node among AMD's is none."""
    root = write(
        tmp_path,
        {
            "proc/meminfo": "MemAvailable: 2048 kB\n",
            "proc/cpuinfo": "processor: 0\nmodel name\t: A Processor\n",
            "proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA H200\nIRQ: 5\n",
            "sys/class/kfd/kfd/topology/nodes/0/properties": "simd_count 0\n",
            "sys/class/kfd/kfd/topology/nodes/1/properties": "cpu_cores_count 0\nsimd_count 304\n",
            "sys/class/kfd/kfd/topology/nodes/1/name": "gfx942\n",
        },
    )
    assert accelerators(root) == ("NVIDIA H200", "gfx942")
    assert machine_name(root) == "NVIDIA H200 + gfx942"
    assert available_memory(root) is None
    (tmp_path / "bare").mkdir()
    bare = write(tmp_path / "bare", {"proc/cpuinfo": "processor: 0\nmodel name\t: A Processor\n"})
    assert machine_name(bare) == "A Processor"
