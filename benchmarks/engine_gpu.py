"""The whole engine on an accelerator, with random weights of Llama-3.1-8B's shape in bf16, beside what is possible.

One stream against the time to read every weight once; 256 requests of 1,024 tokens in and 1,024 out against the
roofline of both ceilings (copy and matrix product), which are measured in the same run, and beside transformers'
continuous batching; a step in our kernels beside one of cuBLAS and SDPA. Method and peers: ``engine_gpu_cases``.
Rows go to benchmarks/results/engine-ARCH.csv; what misses its goal stays in.

Without an accelerator nothing is estimated: every row says so. ``--quick`` takes a small model, whose figures mean
nothing but that all of it runs.
"""

import argparse
import csv
import gc
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from antiphon.kernels.registry import facts_for
from antiphon.runtime.engine.device import Place, choose_place
from antiphon.runtime.engine.peaks import measure_peaks

sys.path.insert(0, str(Path(__file__).parent))  # make sets PYTHONSAFEPATH, which leaves the script's folder out
from engine_gpu_cases import roofline, serving, torch_peer
from engine_gpu_cases.shape import FULL, QUICK, Shape

RESULTS = Path(__file__).parent / "results"
COLUMNS = ("figure", "value", "goal", "verdict")
ABSENT = "not measured: no accelerator"


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A bound that a figure is to keep."""

    least: float | None = None
    most: float | None = None

    def __str__(self) -> str:
        return f">= {self.least:g}" if self.least is not None else f"<= {self.most:g}"

    def met(self, value: float) -> bool:
        """Whether ``value`` keeps it."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


FIGURES: dict[str, Goal | None] = {
    "copy_tb_s": None,
    "matmul_tflop_s": None,
    "stream_tok_s": Goal(least=215),
    "stream_of_roofline": Goal(least=0.8),
    "total_tok_s": None,
    "total_of_roofline": Goal(least=0.75),
    "compiled_while_serving": Goal(most=0),
    "transformers_tok_s": None,
    "total_vs_transformers": Goal(least=3),
    "decode1_vs_vendor": Goal(least=0.9),
    "decode16_vs_vendor": Goal(least=0.9),
    "prompt_vs_vendor": Goal(least=0.9),
}


def measure(shape: Shape, place: Place, rounds: int) -> tuple[dict[str, float], dict[str, str]]:
    """(figures that there are, why the others are missing)."""
    found: dict[str, float] = {}
    failed: dict[str, str] = {}

    def attempt(keys: tuple[str, ...], work: Callable[[], dict[str, float]]) -> None:
        try:
            found.update(work())
        except Exception as error:  # one that does not run is a result, and the others are still measured
            failed.update(dict.fromkeys(keys, f"failed: {type(error).__name__}: {error}"))
        gc.collect()
        if place.device.type == "cuda":
            torch.cuda.empty_cache()

    peaks = measure_peaks("auto", torch.get_num_threads())
    found |= {"copy_tb_s": peaks.bytes_per_s / 1e12, "matmul_tflop_s": peaks.flops_per_s / 1e12}

    def engine() -> dict[str, float]:
        stream, total, compiled = serving.ours(shape, place)
        size = place.dtype.itemsize
        return {
            "stream_tok_s": stream,
            "stream_of_roofline": stream / roofline.stream(shape, peaks, size),
            "total_tok_s": total,
            "total_of_roofline": total / roofline.total(shape, peaks, size),
            "compiled_while_serving": compiled,
        }

    def peer() -> dict[str, float]:
        theirs = serving.transformers(shape, place)
        return {"transformers_tok_s": theirs, "total_vs_transformers": found["total_tok_s"] / theirs}

    def against_vendor(key: str, rows: int, count: int) -> None:
        attempt((key,), lambda: {key: torch_peer.ratio(
            shape.config, place, rows=rows, count=count, context=shape.prompt, rounds=rounds
        )})  # fmt: skip

    attempt(tuple(FIGURES)[2:7], engine)
    attempt(tuple(FIGURES)[7:9], peer)
    against_vendor("decode1_vs_vendor", 1, 1)
    against_vendor("decode16_vs_vendor", 16, 1)
    against_vendor("prompt_vs_vendor", 1, shape.prompt)
    return found, failed


def main() -> None:
    """Measure, print a table, and one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small model")
    quick = parser.parse_args().quick
    found: dict[str, float] = {}
    reasons = dict.fromkeys(FIGURES, ABSENT)
    place = choose_place("auto", torch.get_num_threads())
    if place.device.type != "cpu":
        found, reasons = measure(QUICK if quick else FULL, place, 10 if quick else 50)
    rows = []
    for key, goal in FIGURES.items():
        value = f"{found[key]:.3f}" if key in found else reasons[key]
        verdict = "" if goal is None or key not in found else "met" if goal.met(found[key]) else "missed"
        rows.append([key, value, "" if goal is None else str(goal), verdict])
    if found and not quick:
        RESULTS.mkdir(exist_ok=True)
        arch = facts_for(torch.empty(0, device=place.device)).arch
        with (RESULTS / f"engine-{arch}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(rows)
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    if not found:
        print(ABSENT)
    print(json.dumps({key: round(found[key], 3) if key in found else None for key in FIGURES}))


if __name__ == "__main__":
    main()
