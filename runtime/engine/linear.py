"""A matrix of the model and how it is multiplied: in full, in blocks of one size, or by the file's own codes.

These are torch's own routines for a CPU; where our kernels run, ``kernel_linear`` has the forms.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch.nn.functional import linear

from antiphon.kernels.registry import Backend, backend_for
from antiphon.runtime.engine.device import Place
from antiphon.runtime.engine.kernel_linear import KernelCodes, KernelLinear
from antiphon.runtime.engine.packed_weight import BLOCK, PackedWeight
from antiphon.runtime.engine.weights import Weights

# Up to this many rows codes are faster on a CPU: their product dequantises each weight for each block of rows again.
# All 120 matrices of SmolLM2-135M on one thread of a busy machine, tiled bfloat16 against 4 bits: 43 and 12 ms for one
# row, 41 and 18 for 4, 36 and 34 for 8, 40 and 65 for 16.
DECODE_ROWS = 8
_INVARIANT_ROWS = 64  # one shape for every product


class Linear(Protocol):
    """``x @ weight.T + bias``."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` is [rows, in], the result [rows, out]."""
        ...

    def read_bytes(self, rows: int) -> int:
        """What a product with so many rows reads of the weight: the form that it takes, once."""
        ...


@dataclass(frozen=True, eq=False)
class DenseLinear:
    """A weight in the dtype of the activations."""

    weight: torch.Tensor  # [out, in]
    bias: torch.Tensor | None = None  # [out]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """On a CPU one row takes the matrix-vector routine, 0.8 of the time of oneDNN's product, which lays the weight
        out anew at each call; and rows in float32 come second, 0.5 to 0.7 of the time for 2 to 128 of them (MKL)."""
        if x.device.type != "cpu":
            return linear(x, self.weight, self.bias)
        if x.shape[0] == 1:
            product = torch.mv(self.weight, x[0])[None]
        elif x.dtype is torch.float32:
            product = torch.mm(self.weight, x.T).T.contiguous()
        else:
            return linear(x, self.weight, self.bias)
        return product if self.bias is None else product + self.bias

    def read_bytes(self, rows: int) -> int:
        """The weight, for any number of rows."""
        return self.weight.nbytes


@dataclass(frozen=True, eq=False)
class TiledLinear:
    """A weight in oneDNN's own order, laid out once. The product with a plain weight does that at each call.

    bfloat16: the same bits in 0.5 to 0.8 of the time, from one row to 512. float32, against MKL with AVX2: 0.45 to 0.6
    of the time up to 16 rows, 0.7 to 0.8 up to 128, the same for 512.
    """

    weight: torch.Tensor  # [out, in], opaque
    bias: torch.Tensor | None = None  # [out]
    # Found once: to choose the overload at each call takes 8 us, for 16 rows a sixth of a product.
    multiply: Callable[..., torch.Tensor] = field(default_factory=lambda: torch.ops.mkldnn._linear_pointwise.default)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Any number of rows."""
        return self.multiply(x, self.weight, self.bias, "none", [], "")

    def read_bytes(self, rows: int) -> int:
        """The weight, for any number of rows."""
        return self.weight.numel() * self.weight.element_size()


def float_linear(weight: torch.Tensor, bias: torch.Tensor | None = None) -> DenseLinear | TiledLinear:
    """The faster form of a weight in a floating dtype, which takes the place of ``weight`` in memory."""
    if weight.device.type == "cpu" and torch._C._has_mkldnn and _is_tiled(weight.dtype):
        return TiledLinear(torch.ops.mkldnn._reorder_linear_weight(weight), bias)
    return DenseLinear(weight, bias)


def _is_tiled(dtype: torch.dtype) -> bool:
    return dtype is torch.float32 or (dtype is torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


@dataclass(frozen=True, eq=False)
class InvariantLinear:
    """A weight that is always multiplied with as many rows: what a row becomes does not depend on its company.

    Vendor libraries choose their algorithm, and with it the order of additions, by the number of rows.
    """

    whole: DenseLinear | TiledLinear

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Rows in blocks of 64, the last one filled up with zeros."""
        rows = x.shape[0]
        padded = torch.nn.functional.pad(x, (0, 0, 0, -rows % _INVARIANT_ROWS))
        blocks = [self.whole(block) for block in padded.view(-1, _INVARIANT_ROWS, x.shape[1])]
        return torch.cat(blocks)[:rows]

    def read_bytes(self, rows: int) -> int:
        """The weight once: its later blocks find it in the processor's cache, where it is small enough."""
        return self.whole.read_bytes(rows)


@dataclass(frozen=True, eq=False)
class FourBitLinear:
    """A file's 4-bit codes for a few rows, beside the whole weight for many (on a CPU).

    torch computes ``(code - 8) * scale + zero``. The codes are exact; scale and zero are rounded to bfloat16.
    """

    whole: DenseLinear | TiledLinear
    codes: torch.Tensor  # uint8 [out, in / 2], in torch's own order
    scales: torch.Tensor  # bfloat16 [in / 32, out, 2]: scale, zero

    @classmethod
    def pack(cls, whole: DenseLinear | TiledLinear, packed: PackedWeight) -> "FourBitLinear":
        """Both forms of one matrix."""
        assert packed.offsets is not None
        codes = torch.ops.aten._convert_weight_to_int4pack_for_cpu(packed.codes.int(), 1)
        pairs = torch.stack((packed.scales, packed.offsets + 8 * packed.scales), dim=-1)
        return cls(whole, codes, pairs.transpose(0, 1).contiguous().bfloat16())

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Codes for up to DECODE_ROWS rows."""
        if x.shape[0] > DECODE_ROWS:
            return self.whole(x)
        product = _in_bfloat16(torch._weight_int4pack_mm_for_cpu, x, self.codes, BLOCK, self.scales)
        return product if self.whole.bias is None else product + self.whole.bias

    def read_bytes(self, rows: int) -> int:
        """Codes and scales for a few rows, the whole weight for more."""
        return self.whole.read_bytes(rows) if rows > DECODE_ROWS else self.codes.nbytes + self.scales.nbytes


@dataclass(frozen=True, eq=False)
class EightBitLinear:
    """8-bit codes with one scale a row for a few rows, beside the whole weight for many (on a CPU).

    torch has no product for the file's scale each 32 codes, so these are rounded again, to 127 steps of the largest
    weight in the row.
    """

    whole: DenseLinear | TiledLinear
    codes: torch.Tensor  # int8 [out, in]
    scales: torch.Tensor  # bfloat16 [out]

    @classmethod
    def pack(cls, whole: DenseLinear | TiledLinear, packed: PackedWeight) -> "EightBitLinear":
        """Both forms of one matrix."""
        weights = packed.dequantised()
        scales = weights.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny) / 127
        return cls(whole, weights.div_(scales[:, None]).round_().to(torch.int8), scales.bfloat16())

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Codes for up to DECODE_ROWS rows."""
        if x.shape[0] > DECODE_ROWS:
            return self.whole(x)
        product = _in_bfloat16(torch._weight_int8pack_mm, x, self.codes, self.scales)
        return product if self.whole.bias is None else product + self.whole.bias

    def read_bytes(self, rows: int) -> int:
        """Codes and scales for a few rows, the whole weight for more."""
        return self.whole.read_bytes(rows) if rows > DECODE_ROWS else self.codes.nbytes + self.scales.nbytes


def _in_bfloat16(multiply: Callable[..., torch.Tensor], x: torch.Tensor, *weight: torch.Tensor | int) -> torch.Tensor:
    """A product with codes. torch has fast ones for rows in bfloat16 alone, AVX2's too: in float32 the one with 4-bit
    codes takes 15 to 50 times as long as the plain product."""
    return multiply(x, *weight) if x.dtype is torch.bfloat16 else multiply(x.bfloat16(), *weight).to(x.dtype)


def load_linear(
    weights: Weights,
    names: Sequence[str],
    rows: Sequence[int],
    columns: int,
    place: Place,
    *,
    bias: bool = False,
    batch_invariant: bool = False,
    dense: torch.Tensor | None = None,
) -> Linear:
    """The matrices ``names`` of ``rows`` each as one: fewer and larger products. ``dense``: what is in memory already.

    Raises:
        ModelFileError: a tensor is missing, unreadable or of another shape.
    """

    def fused(parts: list[torch.Tensor]) -> torch.Tensor:
        return (torch.cat(parts) if len(parts) > 1 else parts[0]).to(place.device, place.dtype)

    pieces = list(zip(names, rows, strict=True))
    found = [weights.packed(f"{name}.weight", (each, columns)) for name, each in pieces]
    packed = _concatenated(found)
    offset = fused([weights.get(f"{name}.bias", (each,)) for name, each in pieces]) if bias else None
    kernels = backend_for(torch.empty(0, dtype=place.dtype, device=place.device)) is not Backend.REFERENCE
    if kernels and packed is not None and place.codes:
        return KernelCodes.pack(packed, offset, place.device, batch_invariant=batch_invariant)
    if dense is not None:
        weight = dense
    elif packed is not None:
        weight = packed.dequantised().to(place.device, place.dtype)
    else:
        weight = fused([weights.get(f"{name}.weight", (each, columns)) for name, each in pieces])
    if kernels:
        return KernelLinear(weight, offset, batch_invariant)
    plain = float_linear(weight, offset) if dense is None else DenseLinear(dense, offset)
    if batch_invariant:
        return InvariantLinear(plain)
    if packed is None or not place.codes or place.device.type != "cpu":
        return plain
    if packed.bits == 8:
        return EightBitLinear.pack(plain, packed)
    return FourBitLinear.pack(plain, packed) if sum(rows) % 16 == 0 else plain  # what torch's packing takes


def _concatenated(found: Sequence[PackedWeight | None]) -> PackedWeight | None:
    """The parts below each other, if all are packed and of one kind."""
    parts = [part for part in found if part is not None]
    if len(parts) != len(found) or len({(part.bits, part.offsets is None) for part in parts}) != 1:
        return None
    offsets = [part.offsets for part in parts if part.offsets is not None]
    return PackedWeight(
        bits=parts[0].bits,
        codes=torch.cat([part.codes for part in parts]),
        scales=torch.cat([part.scales for part in parts]),
        offsets=torch.cat(offsets) if offsets else None,
    )
