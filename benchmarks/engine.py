"""The engine on SmolLM2-135M with two threads, beside llama.cpp, transformers and itself with one thing left out.

llama.cpp computes the same GGUF file with as many threads; it is built from source where it is missing (a C++ compiler
and about five minutes, once). transformers computes the same weights in bfloat16. Cases take turns with their peer and
every ratio is that of neighbours, since the speed of a shared machine changes within seconds; medians over rounds.
What each case does is said in ``engine_cases``.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # `make bench` leaves it out

from engine_cases import latency, programs, sharing, speed, start, structure, tenants, transformers_peer
from rich.console import Console
from rich.table import Table

from antiphon.runtime.models.pull import pull
from antiphon.runtime.settings import load_settings

MODEL = "smollm2-135m"
KEYS = ("decode1_vs_llamacpp", "decode16_vs_llamacpp", "prefill_vs_llamacpp", "prefix_ttft_gain", "itl_p99_vs_unloaded",
        "itl_gain_vs_prompt_first", "program_gain_vs_fcfs", "total_vs_transformers", "tenant_error", "structured_valid",
        "structured_cut", "mask_us", "first_token_s", "rss_mb")  # fmt: skip


class Report:
    """Rows for people, and the figures for machines."""

    def __init__(self) -> None:
        self.figures: dict[str, float | None] = dict.fromkeys(KEYS)
        self.table = Table("case", "seen", "reach", title=f"{MODEL}, two threads")

    def row(self, case: str, seen: str, reach: str = "", **figures: float) -> None:
        """One line; progress is shown as it comes."""
        self.table.add_row(case, seen, reach)
        self.figures.update(figures)
        print(f"{case}: {seen}", file=sys.stderr, flush=True)


def speeds(report: Report, path: Path, quick: bool) -> None:
    """Beside llama.cpp."""
    found, extra = speed.run(path, path / "model.gguf", 3 if quick else 9)
    note = "" if extra else " (its AMX code crashes here: without)"
    goals = (("decode1", "one stream", 0.75), ("decode16", "16 streams", 1.25), ("prefill", "prompt of 512", 3.0))
    for case, name, reach in goals:
        pair = found[case]
        seen = f"{pair.ours:.0f} tok/s; llama.cpp{note} {pair.theirs:.0f}; ratio {pair.ratio:.2f}"
        report.row(name, seen, f">= {reach}", **{f"{case}_vs_llamacpp": round(pair.ratio, 3)})


def prefix(report: Report, path: Path, quick: bool) -> None:
    """With the cache and without."""
    cached_s, without_s = sharing.run(path, 1 if quick else 3)
    gain = without_s / cached_s
    seen = f"first token after {cached_s:.2f} s; without {without_s:.2f} s; {gain:.1f} x better"
    report.row("16 agents, 1,000 tokens shared", seen, ">= 5", prefix_ttft_gain=round(gain, 2))


def gaps(report: Report, path: Path, quick: bool) -> None:
    """Beside itself unloaded, and with whole prompts first."""
    found = latency.run(path, 2 if quick else 5)

    def middle(of: Callable[[latency.Round], float]) -> float:
        return statistics.median(map(of, found))

    loaded, gain = middle(lambda each: each.loaded), middle(lambda each: each.gain)
    unloaded_s, noise = middle(lambda each: each.unloaded_s), middle(lambda each: each.noise)
    mixed_s, first_s = middle(lambda each: each.mixed_s), middle(lambda each: each.first_s)
    seen = (
        f"p99 {1e3 * mixed_s:.0f} ms, {loaded:.2f} x unloaded "
        f"({1e3 * unloaded_s:.0f} ms, which differs by {noise:.2f} x); "
        f"prompts first {1e3 * first_s:.0f} ms, {gain:.1f} x; "
        f"a prompt takes {middle(lambda each: each.prompt_mixed_s):.1f} s, "
        f"first {middle(lambda each: each.prompt_first_s):.1f} s"
    )
    figures = {"itl_p99_vs_unloaded": round(loaded, 3), "itl_gain_vs_prompt_first": round(gain, 2)}
    report.row("between tokens, prompts of 2,000", seen, "<= 2.5; >= 4", **figures)


def runs(report: Report, path: Path, quick: bool) -> None:
    """Beside first come first served."""
    ours, arrival = programs.run(path, 16 if quick else 32)
    gain = arrival.mean_s / ours.mean_s
    seen = (
        f"mean {ours.mean_s:.1f} s; by arrival {arrival.mean_s:.1f} s; {gain:.2f} x; "
        f"longest {ours.longest_s:.0f} s, by arrival {arrival.longest_s:.0f} s"
    )
    report.row("programs of 1 to 12 calls", seen, ">= 2", program_gain_vs_fcfs=round(gain, 3))


def total(report: Report, path: Path, quick: bool) -> None:
    """Beside transformers."""
    shapes = transformers_peer.lengths(quick)
    ours = transformers_peer.ours(path, shapes)
    theirs = transformers_peer.theirs(path / "model.gguf", shapes)
    gain = ours / max(theirs.values())
    seen = f"{ours:.0f} tok/s; transformers {', '.join(f'{how} {speed:.0f}' for how, speed in theirs.items())}"
    report.row("16 requests of mixed lengths", seen, ">= 4 x the better", total_vs_transformers=round(gain, 2))


def units(report: Report, path: Path, quick: bool) -> None:
    """Who bought units gets them."""
    found = tenants.run(path, 20.0 if quick else 60.0)
    each = ", ".join(f"{name} {found.served[name]:.0f} of {rate:.0f}" for name, rate in found.bought.items())
    seen = f"weighted tok/s: {each}; unbought {found.served['noisy']:.0f}; short by {found.error:.1%}"
    report.row("tenants with 3 and 1 units", seen, "<= 5 %", tenant_error=round(found.error, 4))


def structured(report: Report, path: Path, quick: bool) -> None:
    """Replies that must fit."""
    found = structure.run(path, 32 if quick else 200)
    ended = found.total - found.cut
    cut = f"{found.cut} cut at {structure.MAX_TOKENS} tokens, which say nothing"
    seen = f"{found.valid} of {ended} that ended fit ({cut}); mask {1e6 * found.mask_s:.0f} us"
    figures = {"structured_cut": round(found.cut / found.total, 4), "mask_us": round(1e6 * found.mask_s, 1)}
    if ended:
        figures["structured_valid"] = round(found.valid / ended, 4)
    report.row(f"{found.total} random schemas", seen, "all; <= 60 us", **figures)


def starting(report: Report, path: Path, quick: bool) -> None:
    """A process of its own."""
    found = start.run(path)
    seen = f"first token after {found.first_token_s:.1f} s; {found.rss_mb:.0f} MB with 16 x 1,000 tokens"
    figures = {"first_token_s": round(found.first_token_s, 2), "rss_mb": round(found.rss_mb)}
    report.row("start, memory", seen, "<= 6 s; <= 900 MB", **figures)


CASES: Mapping[str, Callable[[Report, Path, bool], None]] = {
    "start": starting, "speed": speeds, "prefix": prefix, "gaps": gaps, "programs": runs, "total": total,
    "tenants": units, "structured": structured,
}  # fmt: skip


def main() -> None:
    """Run all cases, or those named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], help="which to run; all if none is named")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    given = parser.parse_args()
    path = pull(MODEL, load_settings().models_dir, lambda progress: None)
    report = Report()
    for name in given.cases or CASES:
        CASES[name](report, path, given.quick)
    Console(width=150).print(report.table)
    print(json.dumps(report.figures))


if __name__ == "__main__":
    main()
