"""MLPerf LoadGen against the engine: SmolLM2-135M, two threads; LoadGen's own verdict and figures.

LoadGen (``mlcommons-loadgen``) makes the load, keeps the time and judges:

- Offline: all requests at once. A short one comes first, and its rate says what the machine can do.
- SingleStream: one request after the other.
- Server: open-loop Poisson arrivals at half of Offline's rate, with limits on the time to first token (2 s) and the
  time per output token (0.1 s) at the 99th percentile. Twice, with the same lengths and the same arrivals: cold, every
  prompt is new, and warm, the prompts are 32 conversations that the engine has seen before.

Lengths are those of ``azure_llm_2023_conv.csv`` divided by 8, in 32 groups of equal size; ``--data`` or a file of that
name in the folder ``ANTIPHON_DATA`` says where it is. Without it they are drawn from log-normal distributions with the
trace's medians (1,020 tokens in, 129 out) and 99th percentiles, and the table says so. Prompts are random ids, replies
greedy and of the trace's length; the engine makes no drafts, since such replies repeat themselves.

A valid run takes 600 s and early stopping's number of queries for each scenario, about 50 minutes in all. ``--quick``
ends each scenario after about 15 s: LoadGen calls that INVALID, for duration and count.
"""

import argparse
import itertools
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from antiphon.runtime.models.pull import pull
from antiphon.runtime.settings import load_settings

sys.path.insert(0, str(Path(__file__).parent))  # make sets PYTHONSAFEPATH, which leaves the script's folder out
from engine_cases.load import Bench, bench, prompt_of
from loadgen_cases import scenario, trace
from loadgen_cases.system import System
from loadgen_cases.verdict import Verdict

MODEL = "smollm2-135m"
SHAPES = 32
PROBE = 24  # requests: about ten seconds
SHARE = 0.5  # of the rate that Offline reaches
MARGIN = 1.5  # a long Offline run is faster than the short one, which ends with few rows, and must fill its time
QUICK_S = 15.0
SCENARIOS = ("offline", "single-stream", "server")
TTFT = "percentile first token latency"
TPOT = "percentile time to output token"


@dataclass(frozen=True, kw_only=True)
class Played:
    """A scenario's verdict, and the share of prompt tokens that came from the prefix cache."""

    verdict: Verdict
    cached: float


class Player:
    """Runs scenarios on one engine."""

    def __init__(self, on: Bench, shapes: Sequence[trace.Shape], quick: bool) -> None:
        self.on = on
        self.shapes = shapes
        self.most_s = QUICK_S if quick else None
        self._seeds = itertools.count()
        self.seen = [self._new(index) for index in range(len(shapes))]

    def offline(self, expected_qps: float = 0.0) -> Played:
        """New prompts, PROBE of them unless a rate is expected."""
        system = System(self.on.engine, self.shapes, self._new)
        verdict = scenario.offline(system, PROBE, expected_qps=expected_qps)
        return _played("Offline" if expected_qps else f"Offline, {PROBE} requests", verdict, system)

    def single_stream(self) -> Played:
        """New prompts."""
        system = System(self.on.engine, self.shapes, self._new)
        return _played("SingleStream", scenario.single_stream(system, most_s=self.most_s), system)

    def server(self, qps: float, *, warm: bool) -> Played:
        """New prompts, or those that the engine computes before LoadGen begins."""
        if warm:
            for watch in [self.on.submit(prompt, 1) for prompt in self.seen]:
                watch.wait()
        system = System(self.on.engine, self.shapes, self.seen.__getitem__ if warm else self._new)
        verdict = scenario.server(system, qps=qps, most_s=self.most_s)
        return _played(f"Server, {'warm' if warm else 'cold'}", verdict, system)

    def _new(self, index: int) -> list[int]:
        return prompt_of(self.shapes[index].prompt, next(self._seeds))


def _played(name: str, verdict: Verdict, system: System) -> Played:
    print(f"{name}\n{verdict.text}\n", flush=True)
    return Played(verdict=verdict, cached=system.cached_tokens / max(1, system.prompt_tokens))


def run(path: Path, shapes: Sequence[trace.Shape], chosen: Sequence[str], quick: bool) -> dict[str, Played]:
    """The chosen scenarios by name; Offline's short form always, since it sets the rate."""
    played = {}
    with bench(path, max_waiting=100_000) as on:  # Offline hands ten minutes of requests over at once
        player = Player(on, shapes, quick)
        on.submit(player.seen[0], 8).wait()  # what is made at first use
        played["offline"] = player.offline()
        if "offline" in chosen and not quick:
            played["offline"] = player.offline(MARGIN * _rate(played["offline"]))
        if "single-stream" in chosen:
            played["single_stream"] = player.single_stream()
        if "server" in chosen:
            qps = SHARE * _rate(played["offline"])
            played["server"] = player.server(qps, warm=False)
            played["warm"] = player.server(qps, warm=True)
    return played


def _rate(offline: Played) -> float:
    return offline.verdict.figures["Samples per second"]


def figures(name: str, verdict: Verdict) -> dict[str, float]:
    """What LoadGen measured, in samples, tokens and seconds. It keeps no token latencies of Offline."""
    seen = verdict.figures
    found = {
        "valid": int(verdict.valid),
        "qps": _first(seen, "Samples per second", "Completed samples per second", "QPS w/ loadgen overhead"),
        "tokens_per_s": _first(seen, "Tokens per second", "Completed tokens per second", "TPS w/ loadgen overhead"),
    }
    if name != "offline":
        found["p90_s"] = verdict.seconds("90.00 percentile latency")
        found["ttft_p50_s"] = verdict.seconds(f"50.00 {TTFT}")
        found["ttft_p99_s"] = verdict.seconds(f"99.00 {TTFT}")
        found["tpot_p99_s"] = verdict.seconds(f"99.00 {TPOT}")
    return found


def report(played: Mapping[str, Played], title: str) -> dict[str, float]:
    """Print the table; the figures for machines, each with its scenario's name before it."""
    columns = ("valid", "qps", "tokens_per_s", "ttft_p50_s", "ttft_p99_s", "tpot_p99_s", "p90_s")
    heads = ("verdict", "samples/s", "tokens/s", "TTFT p50 s", "TTFT p99 s", "TPOT p99 s", "whole p90 s")
    table = Table("scenario", *heads, "prompt cached", title=title)
    known: dict[str, float] = {}
    for name, each in played.items():
        found = figures(name, each.verdict)
        shown = [f"{found[column]:.4g}" if column in found else "" for column in columns[1:]]
        table.add_row(name, "VALID" if each.verdict.valid else "INVALID", *shown, f"{each.cached:.0%}")
        known |= {f"{name}_{key}": round(value, 4) for key, value in found.items()}
        known[f"{name}_cached_share"] = round(each.cached, 4)
    if "server" in played:
        known["cold_ttft_p50_s"] = known.pop("server_ttft_p50_s")  # beside the warm one
    Console(width=150).print(table)
    return known


def _first(figures: Mapping[str, float], *names: str) -> float:
    """The one of LoadGen's names for a figure that this scenario has."""
    return next(figures[name] for name in names if name in figures)


def _requests(given: Path | None) -> tuple[list[trace.Shape], str]:
    """The trace's requests, and where they are from."""
    folder = os.environ.get("ANTIPHON_DATA")
    path = given or (Path(folder) / trace.FILE if folder else None)
    if path is not None and path.is_file():
        return trace.published(path), path.name
    looked = f"found no {path}" if path else "neither --data nor ANTIPHON_DATA is set"
    print(f"{looked}: lengths are drawn from the medians and 99th percentiles of {trace.FILE}", file=sys.stderr)
    return trace.synthetic(), "synthetic lengths"


def main() -> None:
    """Run all scenarios, or those named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", choices=[*SCENARIOS, []], help="which to run; all if none is named")
    parser.add_argument("--quick", action="store_true", help="end each scenario early; LoadGen calls that INVALID")
    parser.add_argument("--data", type=Path, help=f"the file {trace.FILE}")
    given = parser.parse_args()
    path = pull(MODEL, load_settings().models_dir, lambda progress: None)
    requests, source = _requests(given.data)
    shapes = trace.scaled(requests, SHAPES)
    played = run(path, shapes, given.scenarios or SCENARIOS, given.quick)
    note = "; --quick, so INVALID for duration and count" if given.quick else ""
    title = f"MLPerf LoadGen: {MODEL}, two threads; {source} divided by {trace.SCALE}{note}"
    print(json.dumps(report(played, title)))


if __name__ == "__main__":
    main()
