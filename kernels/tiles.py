"""Tile sizes, warps and stages of a kernel by architecture, dtype and shape: a table, and no search at run time.

Triton's own autotuner measures in the middle of serving, fails in the interpreter, and gives another answer on every
start. The rows of ``tiles.csv`` were measured once (``antiphon kernels tune``); where no row fits, a kernel runs with
the default its own module gives.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ANY = "*"  # in the columns arch, dtype and bucket: fits every one
TABLE = Path(__file__).with_name("tiles.csv")
_TRIAL: ContextVar["Trial | None"] = ContextVar("tile_trial", default=None)
COLUMNS = ("op", "arch", "dtype", "bucket", "sizes", "num_warps", "num_stages", "micros")


@dataclass(frozen=True, kw_only=True)
class Tile:
    """How one kernel is cut. ``sizes`` are its constexprs by name, such as BLOCK_M."""

    sizes: Mapping[str, int]
    num_warps: int
    num_stages: int

    def launch(self) -> dict[str, int]:
        """All of it as keyword arguments of a launch: ``kernel[grid](..., **tile.launch())``."""
        return {**self.sizes, "num_warps": self.num_warps, "num_stages": self.num_stages}


@dataclass(frozen=True, kw_only=True)
class TileRow:
    """One row of the table: where a tile holds, and the time that was measured with it."""

    op: str
    arch: str  # "sm_90", "gfx942", or ANY
    dtype: str  # "bf16", "fp16", "fp32", "int8", …, or ANY
    bucket: str  # what the op calls its range of shapes, such as "decode", "m64", or ANY
    tile: Tile
    micros: float | None = None  # microseconds a call when it was tuned; None where nobody measured


def find_tile(op: str, *, arch: str, dtype: str = ANY, bucket: str = ANY, default: Tile) -> Tile:
    """The row of ``tiles.csv`` that fits best, or ``default`` (an unknown architecture has no row of its own).

    A row that names the architecture goes before one that names only dtype or bucket. Cheap enough for every launch.
    """
    trial = _TRIAL.get()
    if trial and (trial.row.op, trial.row.dtype, trial.row.bucket) == (op, dtype, bucket):
        trial.taken = True
        return trial.row.tile
    return _find(op, arch, dtype, bucket) or default


@dataclass
class Trial:
    """A row under trial, and whether a launch has asked for it."""

    row: TileRow
    taken: bool = False


@contextmanager
def trying(row: TileRow) -> Iterator[Trial]:
    """Inside the ``with`` block, launches of this context take the tile of ``row``: how tuning measures one."""
    trial = Trial(row)
    token = _TRIAL.set(trial)
    try:
        yield trial
    finally:
        _TRIAL.reset(token)


def read_tiles(text: str) -> tuple[TileRow, ...]:
    """The rows of a table.

    Raises:
        ValueError: a column is missing or a number is none; says which line.
    """
    rows = []
    reader = csv.DictReader(text.splitlines())
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise ValueError(f"tile table: found columns {reader.fieldnames}, expected {', '.join(COLUMNS)}")
    for line in reader:
        try:
            sizes = dict(pair.split("=") for pair in line["sizes"].split())
            rows.append(
                TileRow(
                    op=line["op"],
                    arch=line["arch"],
                    dtype=line["dtype"],
                    bucket=line["bucket"],
                    tile=Tile(
                        sizes={name: int(size) for name, size in sizes.items()},
                        num_warps=int(line["num_warps"]),
                        num_stages=int(line["num_stages"]),
                    ),
                    micros=float(line["micros"]) if line["micros"] else None,
                )
            )
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(
                f"tile table, line {reader.line_num}: {error}; expected sizes as NAME=NUMBER with spaces between, "
                "then warps, stages and microseconds as numbers"
            ) from None
    return tuple(rows)


def write_tiles(rows: Iterable[TileRow]) -> str:
    """The text that ``read_tiles`` reads, sorted, so that two measurements differ where the numbers do."""
    lines = [",".join(COLUMNS)]
    for row in sorted(rows, key=lambda row: (row.op, row.arch, row.dtype, row.bucket)):
        sizes = " ".join(f"{name}={size}" for name, size in sorted(row.tile.sizes.items()))
        micros = "" if row.micros is None else f"{row.micros:.2f}"
        tile = f"{sizes},{row.tile.num_warps},{row.tile.num_stages},{micros}"
        lines.append(f"{row.op},{row.arch},{row.dtype},{row.bucket},{tile}")
    return "\n".join(lines) + "\n"


def best_row(rows: Iterable[TileRow], op: str, arch: str, dtype: str, bucket: str) -> TileRow | None:
    """The row that fits and names most: architecture first, then bucket, then dtype."""
    fitting = [
        row
        for row in rows
        if row.op == op and row.arch in (arch, ANY) and row.dtype in (dtype, ANY) and row.bucket in (bucket, ANY)
    ]
    return max(fitting, key=lambda row: (row.arch != ANY, row.bucket != ANY, row.dtype != ANY), default=None)


@cache
def _find(op: str, arch: str, dtype: str, bucket: str) -> Tile | None:
    row = best_row(_table(), op, arch, dtype, bucket)
    return row.tile if row else None


@cache
def _table() -> tuple[TileRow, ...]:
    return read_tiles(TABLE.read_text(encoding="utf-8"))
