"""Rows to 8 bits and one scale a row, in plain torch."""

import torch

MOST = {torch.int8: 127.0, torch.float8_e4m3fn: 448.0}  # the largest magnitude of each dtype


def quantise(x: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """(codes in ``dtype``, float32 scale of each row): ``codes * scale`` is ``x``; a row of zeros has scale 0."""
    wide = x.float()
    scale = wide.abs().amax(-1) / MOST[dtype]
    codes = wide / torch.where(scale > 0, scale, 1)[..., None]
    return (codes.round() if dtype is torch.int8 else codes).to(dtype), scale
