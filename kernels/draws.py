"""How the token of each row is drawn from its scores."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Draws:
    """One value a row. A row of temperature 0 takes the best token and looks at nothing else.

    Noise depends on ``seed``, ``position`` and the token alone: the same three give the same noise in every batch, on
    every device.
    """

    temperature: torch.Tensor  # [rows], float32
    top_k: torch.Tensor  # [rows], int32; 0: all
    top_p: torch.Tensor  # [rows], float32; 1: all
    min_p: torch.Tensor  # [rows], float32; 0: all
    seed: torch.Tensor  # [rows], int64
    position: torch.Tensor  # [rows], int32: the token's number in its reply


@dataclass(frozen=True)
class Penalties:
    """Scores to change before anything else. No pair of row and token occurs twice.

    A positive score is divided by its factor, a negative one multiplied; then the offset is subtracted.
    """

    rows: torch.Tensor  # [entries], int32
    tokens: torch.Tensor  # [entries], int32
    factors: torch.Tensor  # [entries], float32, above 0
    offsets: torch.Tensor  # [entries], float32
