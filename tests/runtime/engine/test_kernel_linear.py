"""Matrices where our kernels run. The reference of each op stands in for its kernel, which has tests of its own."""

import pytest
import torch

from antiphon.kernels.registry import backend_of
from antiphon.runtime.engine.device import Place
from antiphon.runtime.engine.kernel_linear import KernelCodes, KernelLinear
from antiphon.runtime.engine.linear import load_linear
from antiphon.runtime.engine.packed_weight import BLOCK, PackedWeight

ROWS, COLUMNS = 24, 64
CPU = torch.device("cpu")


def halves(low: float, high: float) -> torch.Tensor:
    """Numbers as GGUF stores them: float16 in float32, one for each block."""
    return torch.empty(ROWS, COLUMNS // BLOCK).uniform_(low, high).half().float()


def packed_of(kind: str) -> PackedWeight:
    """A random matrix as a file of that kind has it."""
    torch.manual_seed(0)
    scales = halves(0.001, 0.01)
    if kind == "Q8_0":
        codes = torch.randint(-127, 128, (ROWS, COLUMNS), dtype=torch.int8)
        return PackedWeight(bits=8, codes=codes, scales=scales, offsets=None)
    codes = torch.randint(0, 16, (ROWS, COLUMNS), dtype=torch.uint8)
    return PackedWeight(bits=4, codes=codes, scales=scales, offsets=scales * -8 if kind == "Q4_0" else halves(-1, 1))


class OneWeight:
    """A checkpoint of one matrix, and its bias."""

    def __init__(self, packed: PackedWeight, bias: torch.Tensor) -> None:
        self._packed = packed
        self._bias = bias

    def __contains__(self, name: str) -> bool:
        return True

    def get(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        """In float32."""
        return self._bias if name.endswith("bias") else self._packed.dequantised()

    def packed(self, name: str, shape: tuple[int, ...]) -> PackedWeight:
        """The codes."""
        return self._packed


def loaded(kind: str, monkeypatch: pytest.MonkeyPatch, *, codes: bool) -> tuple[object, torch.Tensor]:
    """(the form for a place where kernels run, its bias)."""
    bias = torch.arange(float(ROWS))
    weights, place = OneWeight(packed_of(kind), bias), Place(CPU, torch.float32, codes=codes)
    with monkeypatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")  # loading asks which backend there is, and launches nothing
        backend_of.cache_clear()
        try:
            return load_linear(weights, ["a"], [ROWS], COLUMNS, place, bias=True, batch_invariant=codes), bias
        finally:
            backend_of.cache_clear()


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q8_0"])
def test_codes_are_computed_with_as_they_are(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly what the file says, and no dense weight beside them: Q4_0's offsets take no memory either."""
    found, bias = loaded(kind, monkeypatch, codes=True)
    assert isinstance(found, KernelCodes)
    assert found.batch_invariant
    weight = packed_of(kind)
    assert torch.equal(found.packed.dequantise(), weight.dequantised())
    scales = ROWS * COLUMNS // BLOCK * (4 if kind == "Q4_1" else 2)
    assert found.read_bytes(5) == ROWS * COLUMNS * weight.bits // 8 + scales
    x = torch.randn(5, COLUMNS)
    assert torch.allclose(found(x), x @ weight.dequantised().T + bias, atol=1e-4)


def test_a_place_without_codes_takes_the_dense_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a dtype that was asked for."""
    found, bias = loaded("Q4_1", monkeypatch, codes=False)
    assert isinstance(found, KernelLinear)
    assert found.read_bytes(5) == ROWS * COLUMNS * 4
    x = torch.randn(5, COLUMNS)
    assert torch.allclose(found(x), x @ packed_of("Q4_1").dequantised().T + bias, atol=1e-4)
