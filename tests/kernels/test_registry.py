"""Which backend runs."""

import subprocess
import sys

import pytest
import torch

from antiphon.kernels.registry import Backend, backend_for


def test_cpu_tensors_use_the_reference() -> None:
    """Without an accelerator, torch is the production path."""
    assert backend_for(torch.zeros(1, dtype=torch.bfloat16)) is Backend.REFERENCE


def test_interpreter_is_chosen_by_tritons_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """TRITON_INTERPRET=1 sends CPU tensors to the kernels, except bf16, which the interpreter gets wrong."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert backend_for(torch.zeros(1)) is Backend.INTERPRETER
    with pytest.raises(ValueError, match="silently wrong for bf16"):
        backend_for(torch.zeros(1, dtype=torch.bfloat16))


def test_importing_and_using_the_reference_does_not_import_triton() -> None:
    """Triton costs seconds and exists on Linux only: it is imported when a kernel runs and not before."""
    code = (
        "import sys, torch; before = 'triton' in sys.modules\n"
        "from antiphon.kernels.ops import rms_norm\n"
        "rms_norm(torch.ones(1, 4), torch.ones(4), 1e-5)\n"
        "assert before or 'triton' not in sys.modules"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=60)
