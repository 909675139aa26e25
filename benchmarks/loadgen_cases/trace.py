"""Lengths of requests: those of a published trace, or drawn from its medians and tails where it is absent.

The trace is ``azure_llm_2023_conv.csv``, 19,366 requests of a conversation service (AzurePublicDataset, CC-BY 4.0).
"""

import csv
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FILE = "azure_llm_2023_conv.csv"
SCALE = 8  # a prompt of 1,020 tokens, the median, takes two CPU threads one to three seconds as it is
P99 = 2.3263  # standard deviations above the median


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One request, in tokens."""

    prompt: int
    output: int


def published(path: Path) -> list[Shape]:
    """The requests of the trace.

    Raises:
        ValueError: the file is another one.
    """
    with path.open(newline="", encoding="utf-8") as lines:
        rows = csv.DictReader(lines)
        if not {"ContextTokens", "GeneratedTokens"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{path}: found columns {rows.fieldnames}, expected ContextTokens and GeneratedTokens")
        return [Shape(prompt=int(row["ContextTokens"]), output=int(row["GeneratedTokens"])) for row in rows]


def synthetic(count: int = 20_000) -> list[Shape]:
    """Log-normal lengths with the trace's medians and 99th percentiles: 1,020 and 4,142 in, 129 and 601 out."""
    rng = random.Random(0)

    def draw(median: int, p99: int) -> int:
        return round(rng.lognormvariate(math.log(median), math.log(p99 / median) / P99))

    return [Shape(prompt=draw(1020, 4142), output=draw(129, 601)) for _ in range(count)]


def scaled(requests: Sequence[Shape], count: int) -> tuple[Shape, ...]:
    """``count`` requests that stand for all, their lengths divided by SCALE.

    In order of their prompts the requests make ``count`` equal groups, and the middle of each is taken. LoadGen wants
    two output tokens at least, since the time per output token is that after the first.
    """
    ordered = sorted(requests, key=lambda shape: (shape.prompt, shape.output))
    chosen = (ordered[(2 * group + 1) * len(ordered) // (2 * count)] for group in range(count))
    return tuple(
        Shape(prompt=max(1, round(shape.prompt / SCALE)), output=max(2, round(shape.output / SCALE)))
        for shape in chosen
    )
