"""Tiles are measured, and never estimated."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from antiphon.kernels.tiles import Tile, TileRow, find_tile
from antiphon.kernels.tune import Tunable, accelerator, merge, tune

QUICK, SLOW, IMPOSSIBLE = (Tile(sizes={"SIZE": size}, num_warps=1, num_stages=1) for size in (1, 9, 0))


def row(arch: str, op: str, micros: float) -> TileRow:
    """A row that is known by its time."""
    return TileRow(op=op, arch=arch, dtype="bf16", bucket="decode", tile=QUICK, micros=micros)


def tunable(taken: list[Tile], *candidates: Tile) -> Tunable:
    """An op that asks the table for its tile, as launchers do, and refuses one size."""

    def prepare(device: torch.device) -> Callable[[], object]:
        def call() -> None:
            tile = find_tile("gemm", arch="cpu", dtype="bf16", bucket="decode", default=SLOW)
            if not tile.sizes["SIZE"]:
                raise RuntimeError("out of resources")
            taken.append(tile)

        return call

    return Tunable(op="gemm", dtype="bf16", bucket="decode", candidates=candidates, prepare=prepare)


def test_the_fastest_tile_wins_and_a_refused_one_is_named() -> None:
    """By the median of the clock; a candidate that cannot run costs nothing but itself, and none stays in force."""
    taken: list[Tile] = []

    def seconds(call: Callable[[], object]) -> float:
        call()
        return taken[-1].sizes["SIZE"] / 1e6

    lines: list[str] = []
    (found,) = tune(
        [tunable(taken, SLOW, IMPOSSIBLE, QUICK)], torch.device("cpu"), seconds=seconds, progress=lines.append
    )
    assert found.row == TileRow(op="gemm", arch="cpu", dtype="bf16", bucket="decode", tile=QUICK, micros=1.0)
    assert found.refused == {str(IMPOSSIBLE.launch()): "RuntimeError: out of resources"}
    assert lines == ["gemm bf16 decode: 1.0 us with {'SIZE': 1, 'num_warps': 1, 'num_stages': 1}"]
    assert find_tile("gemm", arch="cpu", dtype="bf16", bucket="decode", default=SLOW) is SLOW


def test_no_tile_that_runs_is_an_error() -> None:
    """With every reason."""
    with pytest.raises(ValueError, match=r"gemm bf16 decode: found no tile that runs on cpu: .*out of resources"):
        tune([tunable([], IMPOSSIBLE)], torch.device("cpu"))


def test_a_tile_that_no_launch_asks_for_is_an_error() -> None:
    """Else the default would be measured under another name."""
    misspelt = replace(tunable([], QUICK), bucket="deocde")
    with pytest.raises(ValueError, match="gemm: found no launch that asks for bf16 deocde"):
        tune([misspelt], torch.device("cpu"), seconds=lambda call: 1.0)


def test_merge_replaces_what_was_measured_again() -> None:
    """Rows of other architectures and ops stay."""
    old = [row("sm_90", "gemm", 1), row("sm_80", "gemm", 2), row("sm_90", "norm", 3)]
    assert merge(old, [row("sm_90", "gemm", 9)]) == (old[1], old[2], row("sm_90", "gemm", 9))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is an accelerator here")
def test_without_an_accelerator_nothing_is_written(tmp_path: Path) -> None:
    """The command says what is missing and leaves the table alone."""
    with pytest.raises(ValueError, match="found no accelerator, expected a CUDA or HIP device"):
        accelerator()
    table = tmp_path / "tiles.csv"
    # In a process of its own: it imports kernels, and those of this process are interpreted.
    done = subprocess.run(
        [sys.executable, "-P", "-m", "antiphon.runtime.cli.main", "kernels", "tune", "--table", str(table)],
        capture_output=True,
        text=True,
        timeout=300,
        env={name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"},
    )
    assert done.returncode == 1
    assert "ConfigurationError: found no accelerator" in done.stderr
    assert not table.exists()


@pytest.mark.gpu
def test_every_tunable_finds_a_tile() -> None:
    """On this device, for every row that the command would write."""
    from antiphon.kernels.tunables import tunables

    known = tunables()
    assert len(tune(known, accelerator())) == len(known)
