"""Which backend runs."""

import subprocess
import sys
from types import MappingProxyType
from typing import Any

import pytest
import torch

from antiphon.kernels import registry
from antiphon.kernels.ops import rms_norm, silu_mul
from antiphon.kernels.platform import DeviceFacts, copy_ceiling
from antiphon.kernels.reference.rms_norm import rms_norm as rms_norm_reference
from antiphon.kernels.registry import ACCELERATORS, Accelerator, Backend, backend_for, facts_for
from antiphon.kernels.tiles import Tile, find_tile


def test_cpu_tensors_use_the_reference() -> None:
    """Without an accelerator, torch is the production path."""
    assert backend_for(torch.zeros(1, dtype=torch.bfloat16)) is Backend.REFERENCE
    assert facts_for(torch.zeros(1)).arch == "cpu"


def test_interpreter_is_chosen_by_tritons_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """TRITON_INTERPRET=1 sends CPU tensors to the kernels, except bf16, which the interpreter gets wrong."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    registry.backend_of.cache_clear()
    assert backend_for(torch.zeros(1)) is Backend.INTERPRETER
    with pytest.raises(ValueError, match="silently wrong for bf16"):
        backend_for(torch.zeros(1, dtype=torch.bfloat16))


def test_unknown_accelerators_use_the_reference() -> None:
    """A device that the registry has no entry for computes correctly with torch, under the interpreter's switch too."""
    tensor = torch.zeros(2, 8, device="meta")
    assert backend_for(tensor) is Backend.REFERENCE
    assert facts_for(tensor).arch == "unknown"
    assert silu_mul(tensor).shape == (2, 4)


def test_a_third_backend_is_one_entry(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of docs/kernels.md: an entry is all it takes; ops run there, and tiles fall back to their default.

    The accelerator is the processor, its compiler the interpreter: both are here.
    """
    if device.type != "cpu":
        pytest.skip("the example replaces the processor's entry")
    entry = Accelerator(
        backend=Backend.INTERPRETER,
        facts=lambda index: DeviceFacts(name="Example One", arch="example_1", units=8, memory_bytes=1 << 30),
    )
    registry.backend_of.cache_clear()
    monkeypatch.setattr(registry, "ACCELERATORS", MappingProxyType({**ACCELERATORS, "cpu": entry}))
    launched: list[object] = []
    x, weight = torch.randn(3, 40), torch.randn(40)
    from antiphon.kernels.device import rms_norm as device_module

    launcher = device_module.rms_norm_launcher

    def spy(out: torch.Tensor, *arguments: Any) -> None:
        launched.append(out)
        launcher(out, *arguments)

    monkeypatch.setattr(device_module, "rms_norm_launcher", spy)
    torch.testing.assert_close(rms_norm(x, weight, 1e-5), rms_norm_reference(x, weight, 1e-5))
    assert len(launched) == 1
    default = Tile(sizes={"BLOCK": 64}, num_warps=4, num_stages=2)
    assert facts_for(x).arch == "example_1"
    assert find_tile("linear", arch=facts_for(x).arch, dtype="bf16", default=default) is default


def test_guard_stops_bf16_below_the_ops(device: torch.device) -> None:
    """A launcher that is called past its op, or a second tensor in bf16, does not reach the interpreter in a test."""
    if device.type != "cpu":
        pytest.skip("a device computes bf16")
    from antiphon.kernels.device.rms_norm import rms_norm_launcher

    x = torch.ones(1, 4)
    with pytest.raises(AssertionError, match="bf16 in the interpreter"):
        rms_norm_launcher(x, x, torch.ones(4, dtype=torch.bfloat16), 1e-5)


def test_the_ceiling_is_measured_with_a_devices_clock() -> None:
    """On a processor there is nothing to measure it with; no figure is made up."""
    with pytest.raises(ValueError, match="found device cpu, expected a CUDA or HIP device"):
        copy_ceiling(torch.device("cpu"))


@pytest.mark.gpu
def test_facts_of_an_accelerator() -> None:
    """The name of the architecture is the one that tiles and targets use; copying reaches a sane speed."""
    facts = facts_for(torch.zeros(1, device="cuda"))
    assert facts.arch.startswith(("sm_", "gfx"))
    assert facts.units > 1
    assert facts.memory_bytes > 1 << 30
    assert 1e10 < copy_ceiling(torch.device("cuda"), megabytes=64, rounds=3) < 1e14


def test_importing_and_using_the_reference_does_not_import_triton() -> None:
    """Triton costs seconds and exists on Linux only: it is imported when a kernel runs and not before."""
    code = (
        "import sys, torch; before = 'triton' in sys.modules\n"
        "from antiphon.kernels.ops import rms_norm\n"
        "rms_norm(torch.ones(1, 4), torch.ones(4), 1e-5)\n"
        "assert before or 'triton' not in sys.modules"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=300)
