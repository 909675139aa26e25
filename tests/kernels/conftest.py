"""Where the kernels under test run: Triton's interpreter by default, the accelerator under the gpu mark."""

import sys

import pytest
import torch

INTERPRETER = pytest.param("cpu", id="interpreter")
DEVICE = pytest.param("cuda", id="device", marks=pytest.mark.gpu)

# Triton reads TRITON_INTERPRET when a function is decorated, and its own library (tl.sum) is decorated when it is
# imported. So it is imported here, interpreted, before transformers imports it compiled for the engine's tests.
if not torch.cuda.is_available() and "triton" not in sys.modules:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        import triton.language  # type: ignore[import-untyped]  # noqa: F401


@pytest.fixture(params=[INTERPRETER, DEVICE])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """A device on which ops run their Triton kernel. The switch is on for one test at a time: no other sees it."""
    found = torch.device(request.param)
    if found.type == "cpu":
        if torch.cuda.is_available():
            pytest.skip("triton compiles for the accelerator in this process: pytest -m gpu tests/kernels")
        from triton.language import sum as library_function
        from triton.runtime.interpreter import InterpretedFunction  # type: ignore[import-untyped]

        assert isinstance(library_function, InterpretedFunction), (
            "triton was imported before tests/kernels/conftest.py; name tests/kernels first, or run it alone"
        )
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    torch.manual_seed(0)
    return found


@pytest.fixture(params=[torch.float32, torch.float16], ids=["fp32", "fp16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """The dtypes the interpreter computes correctly; bf16 is not one of them (triton#11584)."""
    found: torch.dtype = request.param
    return found


@pytest.fixture
def tolerance(dtype: torch.dtype) -> float:
    """Absolute and relative: one rounding of the result's dtype at magnitude 4, the largest seen in the tests."""
    return 2e-5 if dtype is torch.float32 else 4e-3
