"""Tokens per second of one stream, of sixteen and of a prompt, in turns with llama.cpp."""

import itertools
import statistics
from dataclasses import dataclass
from pathlib import Path

from engine_cases.llama_rival import LlamaCpp
from engine_cases.load import Bench, bench, prompt_of

START, TOKENS, PROMPT = 32, 32, 512


@dataclass(frozen=True)
class Pair:
    """Medians of both, and the median of the ratios of neighbours."""

    ours: float
    theirs: float
    ratio: float


def measure(case: str, on: Bench, round: int) -> float:
    """Tokens per second of one case on our engine."""
    if case == "prefill":
        return PROMPT / on.submit(prompt_of(PROMPT, 1000 + round), 1).wait().first_s
    streams = {"decode1": 1, "decode16": 16}[case]
    watches = [on.submit(prompt_of(START, 100 * round + at), TOKENS + 1) for at in range(streams)]
    times = [watch.wait().token_s for watch in watches]
    # From when all are in the batch to when the first is done: steps with every stream in them, and no prompt. The
    # median step: a virtual machine that is taken off its processor loses whole tenths of a second.
    began, ended = max(each[0] for each in times), min(each[-1] for each in times)
    gaps = [after - at for each in times for at, after in itertools.pairwise(each) if began <= at and after <= ended]
    return streams / statistics.median(gaps)


def run(path: Path, gguf: Path, rounds: int) -> tuple[dict[str, Pair], bool]:
    """Every case, ours and llama.cpp's in turns; and whether llama.cpp ran with its extra buffer types."""
    found: dict[str, Pair] = {}
    with LlamaCpp(gguf, 2) as peer, bench(path, itl_target_s=10.0) as on:
        for case in ("decode1", "decode16", "prefill"):
            measure(case, on, 900)
            pairs = [(measure(case, on, round), peer.measure(case)) for round in range(rounds)]
            ours, theirs = (statistics.median(each) for each in zip(*pairs, strict=True))
            found[case] = Pair(ours, theirs, statistics.median(mine / its for mine, its in pairs))
        return found, peer.extra
