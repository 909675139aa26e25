"""Where the kernels under test run: Triton's interpreter by default, the accelerator under the gpu mark."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from antiphon.kernels.registry import backend_of

INTERPRETER = pytest.param("cpu", id="interpreter")
DEVICE = pytest.param("cuda", id="device", marks=pytest.mark.gpu)

# Triton reads TRITON_INTERPRET when a function is decorated, and its own library (tl.sum) is decorated when it is
# imported. So it is imported here, interpreted, before transformers imports it compiled for the engine's tests.
if not torch.cuda.is_available() and "triton" not in sys.modules:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        import triton.language  # type: ignore[import-untyped]  # noqa: F401


@pytest.fixture(autouse=True)
def fresh_backend() -> Iterator[None]:
    """What one test's environment decided holds for no other."""
    backend_of.cache_clear()
    yield
    backend_of.cache_clear()


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
        backend_of.cache_clear()
        _refuse_bf16(monkeypatch)
    torch.manual_seed(0)
    return found


@pytest.fixture
def rows_alike(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the interpreter a dot is numpy's product, and with AVX2 alone OpenBLAS adds a row's terms in an order that
    depends on where the row stands among the others. einsum's order does not, nor does that of a device."""
    if device.type != "cpu":
        return
    import numpy as np
    from triton.runtime import interpreter  # type: ignore[import-untyped]

    def dot(builder: object, a: Any, b: Any, d: Any, *options: object) -> Any:
        product = np.einsum("...mk,...kn->...mn", a.data, b.data, dtype=d.data.dtype)
        return interpreter.TensorHandle(product + d.data, d.dtype.scalar)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", dot)


@pytest.fixture(params=[torch.float32, torch.float16], ids=["fp32", "fp16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """The dtypes the interpreter computes correctly; bf16 is not one of them (triton#11584)."""
    found: torch.dtype = request.param
    return found


@pytest.fixture
def tolerance(dtype: torch.dtype) -> float:
    """Absolute and relative: one rounding of the result's dtype at magnitude 4, the largest seen in the tests."""
    return 2e-5 if dtype is torch.float32 else 4e-3


@pytest.fixture
def expect_within_twice() -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]:
    """flash-attention's rule for bf16 on a device: (out, torch's own in bf16, exact in float32)."""

    def check(out: torch.Tensor, torch_bf16: torch.Tensor, exact: torch.Tensor) -> None:
        error, allowed = (out.float() - exact).abs().max(), (torch_bf16.float() - exact).abs().max()
        assert error <= 2 * allowed + 1e-5, f"found an error of {error:.3e}, torch's own is {allowed:.3e}"

    return check


def _refuse_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard below every op: ops look at their first tensor, this at everything that an interpreted kernel gets."""
    from triton.runtime.interpreter import GridExecutor

    launch = GridExecutor.__call__

    def guarded(executor: object, *arguments: object, **constants: object) -> object:
        for each in (*arguments, *constants.values()):
            assert getattr(each, "dtype", None) is not torch.bfloat16, "bf16 in the interpreter is silently wrong"
        return launch(executor, *arguments, **constants)

    monkeypatch.setattr(GridExecutor, "__call__", guarded)
