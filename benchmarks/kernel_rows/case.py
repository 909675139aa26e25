"""What a row of the benchmark is."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import torch

# Llama-3.1-8B
WIDTH, FFN = 4096, 14336
HEADS, KV_HEADS, HEAD = 32, 8, 128

Call = Callable[[], object]


class Figure(StrEnum):
    """What a row's figure says."""

    COPY = "of the copy ceiling"
    GAIN = "x as fast as its peer"
    TIME = "x the time of its peer"
    MICROS = "us"


_TIMES = (Figure.TIME, Figure.MICROS)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """An op with its inputs on the device, its peer, and the bytes it must move."""

    call: Call
    peer: Call | None = None
    bytes: int = 0
    graph: bool = True  # False: copies page numbers from the host, which a graph cannot hold


@dataclass(frozen=True, kw_only=True)
class Case:
    """A row of the table."""

    key: str
    op: str
    shape: str
    figure: Figure
    goal: float  # at least, or at most where the figure is a time
    prepare: Callable[[torch.device], Prepared]

    @property
    def bound(self) -> str:
        """The goal in words."""
        return f"at {'most' if self.figure in _TIMES else 'least'} {self.goal}"

    def meets(self, figure: float) -> bool:
        """Whether ``figure`` reaches the goal."""
        return figure <= self.goal if self.figure in _TIMES else figure >= self.goal
