"""How near each op comes to what the accelerator can do: the copy ceiling, or the best kernel that others ship.

Method: bf16, the shapes of Llama-3.1-8B, random values; each op is captured in a CUDA graph, as the engine runs it, and
its time is the median of the replays by the device's clock. Both ceilings (bytes read and written by a copy, and the
product of two 8192-cubes) are measured in the same run, and so is every peer. Inputs are far larger than the caches.
Rows go to benchmarks/results/kernels-ARCH.csv. A row below its goal stays in the table.

Without an accelerator nothing is estimated: every row says "not measured", and what remains is the cross-compilation
of every kernel for every target.
"""

import argparse
import csv
import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from antiphon.kernels.platform import copy_ceiling, gpu_seconds
from antiphon.kernels.registry import facts_for
from antiphon.kernels.report import compile_all
from antiphon.kernels.samples import numbers

sys.path.insert(0, str(Path(__file__).parent))  # make sets PYTHONSAFEPATH, which leaves the script's folder out
from kernel_rows.attention import attention
from kernel_rows.case import Call, Case, Figure
from kernel_rows.products import products
from kernel_rows.streams import streams

RESULTS = Path(__file__).parent / "results"
COLUMNS = ("op", "shape", "us", "peer us", "figure", "unit", "goal", "verdict")


def cases() -> list[Case]:
    """Every row, in the order of the table."""
    return [*streams(), *products(), *attention()]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A row that has run; times in microseconds."""

    micros: float
    peer_micros: float | None
    figure: float


def measure(case: Case, device: torch.device, copy_bytes_s: float, rounds: int) -> Measured:
    """Run a row: the op, then its peer."""
    prepared = case.prepare(device)
    micros = _micros(prepared.call, prepared.graph, rounds)
    peer_micros = _micros(prepared.peer, prepared.graph, rounds) if prepared.peer else None
    figure = micros
    if case.figure is Figure.COPY:
        figure = prepared.bytes / (micros / 1e6) / copy_bytes_s
    elif peer_micros is not None:
        figure = peer_micros / micros if case.figure is Figure.GAIN else micros / peer_micros
    return Measured(micros=micros, peer_micros=peer_micros, figure=figure)


def _micros(call: Call, graph: bool, rounds: int) -> float:
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    if graph:
        captured: Any = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            call()
        call = captured.replay
    return statistics.median(gpu_seconds(call) for _ in range(rounds)) * 1e6


def run(device: torch.device, rounds: int) -> tuple[dict[str, float | None], list[list[str]]]:
    """(the figure of each key, the rows of the table); what failed has no figure and says why."""
    copy_bytes_s = copy_ceiling(device)
    cube = numbers(8192, 8192, device=device)
    figures: dict[str, float | None] = {
        "copy_tb_s": round(copy_bytes_s / 1e12, 3),
        "matmul_tflop_s": round(2 * 8192**3 / _micros(lambda: cube @ cube, True, rounds) / 1e6, 1),
    }
    rows = []
    for case in cases():
        figures[case.key] = None
        try:
            found = measure(case, device, copy_bytes_s, rounds)
        except Exception as error:  # a kernel that does not run is a result, and the others are still measured
            reason = f"failed: {type(error).__name__}: {error}"
            rows.append([case.op, case.shape, "", "", "", "", case.bound, reason])
            continue
        finally:
            torch.cuda.empty_cache()
        figures[case.key] = round(found.figure, 3)
        peer = "" if found.peer_micros is None else f"{found.peer_micros:.1f}"
        verdict = "met" if case.meets(found.figure) else "missed"
        times = [f"{found.micros:.1f}", peer, f"{found.figure:.3f}"]
        rows.append([case.op, case.shape, *times, case.figure, case.bound, verdict])
    return figures, rows


def main() -> None:
    """Measure, print a table, and one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a short form: 10 rounds")
    rounds = 10 if parser.parse_args().quick else 100
    figures: dict[str, float | None]
    if torch.cuda.is_available():
        device = torch.device("cuda", torch.cuda.current_device())
        figures, rows = run(device, rounds)
        facts = facts_for(torch.empty(0, device=device))
        print(f"{facts.name}, {rounds} rounds, copy {figures['copy_tb_s']} TB/s, {figures['matmul_tflop_s']} TFLOP/s")
        RESULTS.mkdir(exist_ok=True)
        with (RESULTS / f"kernels-{facts.arch}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(rows)
    else:
        figures = dict.fromkeys(("copy_tb_s", "matmul_tflop_s", *(case.key for case in cases())))
        absent = "not measured: no accelerator"
        rows = [[case.op, case.shape, "", "", "", "", case.bound, absent] for case in cases()]
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*row)
    Console(width=160).print(table)  # wide enough for its longest row, wherever it goes
    print(json.dumps({**figures, **compile_all(variants=False).counts()}))


if __name__ == "__main__":
    main()
