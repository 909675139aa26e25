"""Compilations are counted."""

import os
import subprocess
import sys

# A process of its own, where kernels are compiled. The driver is a stand-in for an accelerator: it says which target
# to compile for, and `warmup` does everything that a launch does but the launch.
CODE = """
import torch
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

class Stand_in:
    def get_current_target(self): return GPUTarget("cuda", 90, 32)
    def get_current_device(self): return 0
    def get_current_stream(self, device): return 0

driver.set_active(Stand_in())
from antiphon.kernels.device.rms_norm import _rms_norm_kernel
from antiphon.kernels.jit_monitor import watch_compilations

def warm_up(width):
    tensors = (torch.bfloat16,) * 3
    _rms_norm_kernel.warmup(*tensors, width, width, 1e-5, BLOCK=64, num_warps=1, grid=(1,))

seen = []
knobs.runtime.jit_post_compile_hook = before = lambda **facts: seen.append(facts["repr"])
with watch_compilations() as compiled:
    warm_up(64)
    assert len(compiled) == 1 and "_rms_norm_kernel" in compiled[0], compiled
    warm_up(64)
    warm_up(32)
    assert len(compiled) == 1, compiled
    warm_up(63)  # no multiple of 16 any more: Triton makes a variant of it
    assert len(compiled) == 2, compiled
assert seen == compiled
assert knobs.runtime.jit_post_compile_hook is before
with watch_compilations() as compiled:
    warm_up(64)
assert compiled == []
"""


def test_counts_each_variant_once_and_restores_the_hook_before() -> None:
    """A second launch of a known variant is silent, a new one is not; who listened before hears it too."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    ended = subprocess.run([sys.executable, "-P", "-c", CODE], env=environment, capture_output=True, timeout=300)
    assert ended.returncode == 0, ended.stderr.decode()
