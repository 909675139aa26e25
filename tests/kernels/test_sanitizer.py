"""Memory that a kernel should not touch: the interpreter hides it, a device may too, compute-sanitizer does not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.gpu
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "name", ["rms_norm", "silu_mul", "rotary_cache", "mean_pool", "paged_attention", "linear", "lora"]
)
def test_no_kernel_reads_or_writes_out_of_bounds(name: str) -> None:
    """Every test of the op on the device, under memcheck, with an allocation of its own for each tensor."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        pytest.skip("compute-sanitizer is not on PATH (it comes with the CUDA toolkit)")
    tests = str(HERE / f"test_{name}.py")
    ended = subprocess.run(
        [tool, "--error-exitcode", "9", sys.executable, "-P", "-m", "pytest", "-q", "-m", "gpu", tests],
        env={**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"},
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert ended.returncode == 0, ended.stdout[-4000:]
