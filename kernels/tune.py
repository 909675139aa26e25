"""Measures tiles on the accelerator at hand. What it finds goes into the tile table (``antiphon kernels tune``)."""

import statistics
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import torch

from antiphon.kernels.platform import gpu_seconds
from antiphon.kernels.registry import facts_for
from antiphon.kernels.tiles import Tile, TileRow, trying

_WARM_UP = 3
_LAUNCHES = 20


@dataclass(frozen=True, kw_only=True)
class Tunable:
    """A row of the tile table that is worth measuring; op, dtype and bucket are what the launcher asks for."""

    op: str
    dtype: str
    bucket: str
    candidates: tuple[Tile, ...]
    prepare: Callable[[torch.device], Callable[[], object]]  # allocates typical inputs; the result calls the op once


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """The fastest tile of one tunable on ``row.arch``, and the candidates that could not run, each with its reason."""

    row: TileRow
    refused: Mapping[str, str]


def accelerator() -> torch.device:
    """The device to measure on.

    Raises:
        ValueError: there is none.
    """
    if not torch.cuda.is_available():
        raise ValueError("found no accelerator, expected a CUDA or HIP device: tiles are measured, never estimated")
    return torch.device("cuda", torch.cuda.current_device())


def tune(
    tunables: Iterable[Tunable],
    device: torch.device,
    *,
    seconds: Callable[[Callable[[], object]], float] = gpu_seconds,
    progress: Callable[[str], None] = lambda line: None,
) -> tuple[Tuned, ...]:
    """Measure every candidate on ``device``: the median of 20 launches by the clock ``seconds``, after 3 to warm up.

    A candidate that the device refuses (too much shared memory, say) is left out and named; the others go on.

    Raises:
        ValueError: every candidate of one tunable was refused (has the reasons), or none was asked for.
    """
    arch = facts_for(torch.empty(0, device=device)).arch
    found = []
    for each in tunables:
        call = each.prepare(device)
        measured: list[TileRow] = []
        refused: dict[str, str] = {}
        for tile in each.candidates:
            row = TileRow(op=each.op, arch=arch, dtype=each.dtype, bucket=each.bucket, tile=tile)
            try:
                with trying(row) as trial:
                    for _ in range(_WARM_UP):
                        call()
                    micros = statistics.median(seconds(call) for _ in range(_LAUNCHES)) * 1e6
            except Exception as error:  # Triton's errors of resources and of compilation share no base
                refused[str(tile.launch())] = f"{type(error).__name__}: {error}"
                continue
            if not trial.taken:
                raise ValueError(f"{each.op}: found no launch that asks for {each.dtype} {each.bucket}, expected one")
            measured.append(replace(row, micros=micros))
        if not measured:
            raise ValueError(f"{each.op} {each.dtype} {each.bucket}: found no tile that runs on {arch}: {refused}")
        best = min(measured, key=lambda row: row.micros or 0.0)
        progress(f"{each.op} {each.dtype} {each.bucket}: {best.micros:.1f} us with {best.tile.launch()}")
        found.append(Tuned(row=best, refused=refused))
    return tuple(found)


def merge(old: Iterable[TileRow], new: Collection[TileRow]) -> tuple[TileRow, ...]:
    """``old`` with the rows of the same op, architecture, dtype and bucket replaced."""
    measured = {(row.op, row.arch, row.dtype, row.bucket) for row in new}
    return (*(row for row in old if (row.op, row.arch, row.dtype, row.bucket) not in measured), *new)
