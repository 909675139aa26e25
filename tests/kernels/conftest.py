"""Where the kernels under test run: Triton's interpreter by default, the accelerator under the gpu mark."""

from collections.abc import Iterator

import pytest
import torch

INTERPRETER = pytest.param("cpu", id="interpreter")
DEVICE = pytest.param("cuda", id="device", marks=pytest.mark.gpu)


@pytest.fixture(params=[INTERPRETER, DEVICE])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """A device on which ops run their Triton kernel.

    Triton reads TRITON_INTERPRET when a kernel is decorated, at the first call of its op in the process; nothing but
    these tests runs kernels on a CPU, so setting it for the length of a test is enough, and no other test sees it.
    """
    found = torch.device(request.param)
    if found.type == "cpu":
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    torch.manual_seed(0)
    yield found


@pytest.fixture(params=[torch.float32, torch.float16], ids=["fp32", "fp16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """The dtypes the interpreter computes correctly; bf16 is not one of them (triton#11584)."""
    found: torch.dtype = request.param
    return found


@pytest.fixture
def tolerance(dtype: torch.dtype) -> float:
    """Absolute and relative: one rounding of the result's dtype at magnitude 4, the largest seen in the tests."""
    return 2e-5 if dtype is torch.float32 else 4e-3
