"""A quantised matrix as its file has it: small codes, and a scale for each 32 of them."""

from dataclasses import dataclass

import torch

BLOCK = 32  # elements along a row that share a scale
QUANTISED = ("Q4_0", "Q4_1", "Q8_0")


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedWeight:
    """Weights ``codes * scales + offsets``, nothing rounded again."""

    bits: int  # 4 | 8
    codes: torch.Tensor  # [rows, columns]; uint8 from 0 to 15 for 4 bits, int8 for 8
    scales: torch.Tensor  # float32 [rows, columns / BLOCK]
    offsets: torch.Tensor | None  # as scales; None for 0

    def dequantised(self) -> torch.Tensor:
        """The weights in float32. Exact: a scale has 11 significant bits."""
        weights = self.codes.float().view(*self.scales.shape, BLOCK).mul_(self.scales[..., None])
        if self.offsets is not None:
            weights += self.offsets[..., None]
        return weights.view(self.codes.shape)


def unpack(kind: str, raw: torch.Tensor, shape: tuple[int, ...]) -> PackedWeight:
    """What the bytes ``raw`` (uint8 [bytes]) of a GGUF tensor of one of the QUANTISED types say.

    ggml's blocks: a float16 scale; for Q4_1 a float16 offset; then 16 bytes, whose low nibbles are elements 0 to 15 and
    whose high ones 16 to 31, or for Q8_0 32 signed bytes. Q4_0's codes stand for -8 to 7.
    """
    halves = {"Q4_0": 1, "Q4_1": 2, "Q8_0": 1}[kind]
    blocks = raw.view(-1, 2 * halves + (BLOCK if kind == "Q8_0" else BLOCK // 2))
    numbers = blocks[:, : 2 * halves].contiguous().view(torch.float16).float()  # [blocks, halves]
    grid = (*shape[:-1], shape[-1] // BLOCK)
    scales, rest = numbers[:, 0].reshape(grid), blocks[:, 2 * halves :]
    if kind == "Q8_0":
        return PackedWeight(bits=8, codes=rest.reshape(shape).view(torch.int8), scales=scales, offsets=None)
    codes = torch.cat((rest & 0x0F, rest >> 4), dim=1).view(shape)
    offsets = scales * -8 if kind == "Q4_0" else numbers[:, 1].reshape(grid)
    return PackedWeight(bits=4, codes=codes, scales=scales, offsets=offsets)
