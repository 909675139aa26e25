"""The sum of a residual and its RMS norm, as one of the kernels or as torch does it fastest on a CPU."""

from dataclasses import dataclass
from typing import Protocol

import torch

from antiphon.kernels.ops import add_rms_norm, rms_norm
from antiphon.kernels.registry import Backend, backend_for


class Norm(Protocol):
    """A norm's weight. What it calls a residual is its own: only another norm of its kind can read it."""

    def first(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(the norm of ``x``, the residual that it is): ``x`` is [tokens, width], and so is the norm."""
        ...

    def __call__(self, x: torch.Tensor, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(the norm of ``x`` and ``residual`` together, their sum)."""
        ...


@dataclass(frozen=True, eq=False)
class KernelNorm:
    """One launch."""

    weight: torch.Tensor  # [width]
    eps: float

    def first(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return rms_norm(x, self.weight, self.eps), x

    def __call__(self, x: torch.Tensor, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return add_rms_norm(x, residual, self.weight, self.eps)


@dataclass(frozen=True, eq=False)
class PairNorm:
    """Three operations of torch where its own RMS norm is seven. A row does not depend on how many there are.

    x and -x together have the mean 0 and the variance mean(x²), so their layer norm is the RMS norm of x. The residual
    is such a pair, [tokens, 2, width].
    """

    weights: torch.Tensor  # [2, width], the same twice
    signs: torch.Tensor  # [2, 1]: 1 and -1
    eps: float

    @classmethod
    def of(cls, weight: torch.Tensor, eps: float) -> "PairNorm":
        """With this weight, [width]."""
        return cls(torch.stack((weight, weight)), torch.tensor([[1.0], [-1.0]], dtype=weight.dtype), eps)

    def first(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self._normed(x.unsqueeze(1) * self.signs)

    def __call__(self, x: torch.Tensor, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self._normed(torch.addcmul(residual, x.unsqueeze(1), self.signs))

    def _normed(self, pair: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.layer_norm(pair, self.weights.shape, self.weights, None, self.eps).select(1, 0).contiguous(), pair


def norm_of(weight: torch.Tensor, eps: float) -> Norm:
    """The form for where ``weight`` [width] lies."""
    return PairNorm.of(weight, eps) if backend_for(weight) is Backend.REFERENCE else KernelNorm(weight, eps)
