"""A matrix of the model where our kernels run: on an accelerator, or in Triton's interpreter."""

from dataclasses import dataclass

import torch

from antiphon.kernels import ops
from antiphon.kernels.packed import PackedLinear, pack_q4, pack_q8
from antiphon.runtime.engine.packed_weight import PackedWeight


@dataclass(frozen=True, eq=False)
class KernelLinear:
    """A dense weight as our op multiplies it: few rows at the speed of the memory, many by the vendor's library."""

    weight: torch.Tensor  # [out, in]
    bias: torch.Tensor | None  # [out]
    batch_invariant: bool

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """``batch_invariant``: one tile for any number of rows, in place of blocks of one size."""
        return ops.linear(x, self.weight, self.bias, batch_invariant=self.batch_invariant)

    def read_bytes(self, rows: int) -> int:
        """The weight, for any number of rows."""
        return self.weight.nbytes


@dataclass(frozen=True, eq=False)
class KernelCodes:
    """A file's own codes, for any number of rows.

    There is no dense weight beside them: who takes a quantised checkpoint to an accelerator wants its memory for pages.
    """

    packed: PackedLinear
    bias: torch.Tensor | None  # [out]
    batch_invariant: bool

    @classmethod
    def pack(
        cls, found: PackedWeight, bias: torch.Tensor | None, device: torch.device, *, batch_invariant: bool
    ) -> "KernelCodes":
        """Codes, scales and offsets as in the file: GGUF's numbers are float16, so nothing is rounded."""
        codes, scales = found.codes.to(device).contiguous(), found.scales.half().to(device)
        if found.bits == 8:
            return cls(pack_q8(codes, scales), bias, batch_invariant)
        offsets = None
        if found.offsets is not None and not torch.equal(found.offsets, found.scales * -8):  # Q4_0 has none of its own
            offsets = found.offsets.half().to(device)
        return cls(pack_q4(codes, scales, offsets), bias, batch_invariant)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The weight is dequantised in registers, tile by tile."""
        product = ops.quantised_linear(x, self.packed, batch_invariant=self.batch_invariant)
        return product if self.bias is None else product + self.bias

    def read_bytes(self, rows: int) -> int:
        """Codes, scales and offsets, for any number of rows."""
        packed = self.packed
        return packed.codes.nbytes + packed.scales.nbytes + (0 if packed.offsets is None else packed.offsets.nbytes)
