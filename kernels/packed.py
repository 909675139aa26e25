"""A weight in 4 or 8 bits, laid out so that one wide load feeds many weights.

A weight is ``code * scale + offset``. Along a row, 32 weights make a group, as in GGUF; its codes become 32-bit words:
of a 4-bit group four words, where bits 4i to 4i+3 of word w hold weight 4i + w; of an 8-bit group eight, where byte i
of word w holds weight 8i + w. A kernel so takes one shift and one mask a weight, never a byte's load of its own, and
the inputs that meet the i-th codes of a row of words lie side by side. Codes are moved, never quantised again.
"""

from dataclasses import dataclass
from enum import StrEnum

import torch

from antiphon.kernels.checks import expect_float, expect_shape

GROUP = 32  # weights of a group


class PackedKind(StrEnum):
    """How codes and scales give weights."""

    Q4 = "q4"  # 4-bit codes 0..15, a scale and an offset a group (GGUF Q4_1); without offsets -8 * scale (Q4_0)
    Q8 = "q8"  # 8-bit codes -128..127, a scale a group (GGUF Q8_0)
    INT8 = "int8"  # the same codes, a scale a row
    FP8 = "fp8"  # float8 e4m3 codes, a scale a row

    @property
    def bits(self) -> int:
        """Of a code."""
        return 4 if self is PackedKind.Q4 else 8

    @property
    def grouped(self) -> bool:
        """A scale for each group of 32 and not for a whole row."""
        return self in (PackedKind.Q4, PackedKind.Q8)


@dataclass(frozen=True, kw_only=True)
class PackedLinear:
    """A weight [N, K] on one device. ``pack_q4`` and its siblings make one; signed 8-bit codes are kept plus 128."""

    kind: PackedKind
    codes: torch.Tensor  # [N, K * bits / 32], int32: the words
    scales: torch.Tensor  # [N, K / 32] of a grouped kind, [N] of another
    offsets: torch.Tensor | None  # [N, K / 32]; None: the codes' middle (8) is zero
    shape: tuple[int, int]  # N, K

    def dequantise(self) -> torch.Tensor:
        """The weight in float32, [N, K]: what the packed codes mean."""
        bits, (width, depth) = self.kind.bits, self.shape
        words = self.codes.view(width, depth // GROUP, 1, bits)
        shifts = torch.arange(0, 32, bits, dtype=torch.int32, device=words.device).view(-1, 1)
        codes = ((words >> shifts) & ((1 << bits) - 1)).view(width, depth // GROUP, GROUP)
        if self.kind is PackedKind.FP8:
            values = codes.to(torch.uint8).view(torch.float8_e4m3fn).float()
        elif self.offsets is None:
            values = (codes - (1 << (bits - 1))).float()
        else:
            values = codes.float()
        values *= self.scales.float().view(width, -1, 1)
        if self.offsets is not None:
            values += self.offsets.float().view(width, -1, 1)
        return values.view(width, depth)


def pack_q4(codes: torch.Tensor, scales: torch.Tensor, offsets: torch.Tensor | None = None) -> PackedLinear:
    """From ``codes`` uint8 [N, K] of 0 to 15, ``scales`` and ``offsets`` [N, K / 32]; no offsets mean -8 * scale.

    Scales and offsets keep their dtype: GGUF's are float16, and float16 is what moves fewest bytes.

    Raises:
        ValueError: a code over 15, K no multiple of 32, or shapes or dtypes that do not fit.
    """
    _expect_codes(codes, torch.uint8)
    if codes.numel() and int(codes.max()) > 15:
        raise ValueError(f"codes: found {int(codes.max())}, expected 4-bit codes from 0 to 15")
    groups = (codes.shape[0], codes.shape[1] // GROUP)
    _expect_scales("scales", scales, groups, codes)
    if offsets is not None:
        _expect_scales("offsets", offsets, groups, codes)
    return _packed(PackedKind.Q4, codes, scales, offsets)


def pack_q8(codes: torch.Tensor, scales: torch.Tensor) -> PackedLinear:
    """From ``codes`` int8 [N, K] and ``scales`` [N, K / 32].

    Raises:
        ValueError: K is no multiple of 32, or shapes or dtypes do not fit.
    """
    _expect_codes(codes, torch.int8)
    _expect_scales("scales", scales, (codes.shape[0], codes.shape[1] // GROUP), codes)
    return _packed(PackedKind.Q8, codes.view(torch.uint8) ^ 0x80, scales, None)


def pack_rows_int8(codes: torch.Tensor, scales: torch.Tensor) -> PackedLinear:
    """From ``codes`` int8 [N, K] and ``scales`` [N]; ``quantise_rows`` makes them of a float weight.

    Raises:
        ValueError: K is no multiple of 32, or shapes or dtypes do not fit.
    """
    _expect_codes(codes, torch.int8)
    _expect_scales("scales", scales, (codes.shape[0],), codes)
    return _packed(PackedKind.INT8, codes.view(torch.uint8) ^ 0x80, scales, None)


def pack_rows_fp8(codes: torch.Tensor, scales: torch.Tensor) -> PackedLinear:
    """From ``codes`` float8_e4m3fn [N, K] and ``scales`` [N]; ``quantise_rows`` makes them of a float weight.

    Raises:
        ValueError: a code is not a number, K is no multiple of 32, or shapes or dtypes do not fit.
    """
    _expect_codes(codes, torch.float8_e4m3fn)
    _expect_scales("scales", scales, (codes.shape[0],), codes)
    raw = codes.view(torch.uint8)
    if bool(((raw & 0x7F) == 0x7F).any()):  # e4m3fn has this one NaN, with either sign, and no infinity
        raise ValueError("codes: found NaN, expected finite float8 numbers")
    return _packed(PackedKind.FP8, raw, scales, None)


def quantise_rows(weight: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """(codes, scales) of a float weight [N, K] in int8 or float8_e4m3fn: a row's largest magnitude becomes 127 or 448.

    Raises:
        ValueError: another dtype, or a weight that is not a finite matrix.
    """
    expect_float("weight", weight)
    if dtype not in (torch.int8, torch.float8_e4m3fn):
        raise ValueError(f"dtype: found {dtype}, expected torch.int8 or torch.float8_e4m3fn")
    if weight.dim() != 2 or not bool(weight.isfinite().all()):
        raise ValueError(f"weight: found shape {tuple(weight.shape)}, expected finite numbers [outputs, inputs]")
    largest = 127.0 if dtype is torch.int8 else torch.finfo(dtype).max
    scales = (weight.float().abs().amax(dim=1) / largest).clamp_min(torch.finfo(torch.float32).tiny)
    codes = (weight.float() / scales[:, None]).clamp(-largest, largest)
    return (codes.round() if dtype is torch.int8 else codes).to(dtype), scales


def _packed(kind: PackedKind, codes: torch.Tensor, scales: torch.Tensor, offsets: torch.Tensor | None) -> PackedLinear:
    width, depth = codes.shape
    groups = codes.view(width, depth // GROUP, 32 // kind.bits, kind.bits)
    words = torch.zeros(width, depth // GROUP, kind.bits, dtype=torch.int32, device=codes.device)
    for place in range(groups.shape[2]):
        words |= groups[:, :, place].to(torch.int32) << (kind.bits * place)
    return PackedLinear(
        kind=kind,
        codes=words.view(width, -1),
        scales=scales.contiguous(),
        offsets=None if offsets is None else offsets.contiguous(),
        shape=(width, depth),
    )


def _expect_codes(codes: torch.Tensor, dtype: torch.dtype) -> None:
    if codes.dtype is not dtype or codes.dim() != 2 or codes.shape[1] % GROUP or not codes.is_contiguous():
        raise ValueError(
            f"codes: found {codes.dtype} of shape {tuple(codes.shape)}, "
            f"expected {dtype} [outputs, a multiple of {GROUP}], contiguous"
        )


def _expect_scales(name: str, scales: torch.Tensor, shape: tuple[int, ...], codes: torch.Tensor) -> None:
    expect_float(name, scales)
    expect_shape(name, scales, shape)
    if scales.device != codes.device:
        raise ValueError(f"{name}: found device {scales.device}, expected that of the codes, {codes.device}")
