"""By which angles a step's tokens are turned."""

from dataclasses import dataclass
from functools import cached_property

import torch

from antiphon.kernels.checks import expect_table


@dataclass(frozen=True)
class Rotation:
    """Cosines and sines, gathered for the tokens' positions: the same for every layer of a step."""

    cos: torch.Tensor  # [tokens, head width / 2], float32
    sin: torch.Tensor

    def check(self, tokens: int, half: int, device: torch.device) -> None:
        """Both are tables of that shape on ``device``.

        Raises:
            ValueError: one is not.
        """
        for name, table in (("cos", self.cos), ("sin", self.sin)):
            expect_table(name, table, (tokens, half), device)

    @cached_property
    def whole(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Both [tokens, 1, head width], such that ``x`` turned is ``x * cos + x rolled by half * sin``."""
        return torch.cat((self.cos, self.cos), -1)[:, None], torch.cat((-self.sin, self.sin), -1)[:, None]
