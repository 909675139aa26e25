"""Programs of 1 to 12 calls with tool waits, offered near saturation: how long a program takes, in both orders.

A program's next call holds all that its earlier calls said, as an agent's does, and comes after a wait for a tool.
The number of calls is uniform in its logarithm, so most programs are short and most work is in long ones.
"""

import math
import random
import statistics
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from engine_cases.load import Bench, bench, prompt_of

CALLS = 12
FIRST, NEXT, REPLY = 512, 96, 8  # tokens: of the first prompt, added by each later one, of each reply
TOOL_S = 0.5
ROWS, CACHE_TOKENS = 8, 2560  # fewer than the contexts of all programs under way, as where many agents share a model


@dataclass(frozen=True)
class Program:
    """``arrives_s`` after the start, ``calls`` calls, a wait after each."""

    arrives_s: float
    calls: int
    seed: int


@dataclass(frozen=True)
class Outcome:
    """Mean time of all programs, and the longest time of those with CALLS calls; seconds."""

    mean_s: float
    longest_s: float


def plan(count: int, every_s: float) -> list[Program]:
    """The same programs for both orders."""
    rng = random.Random(17)
    programs, at_s = [], 0.0
    for seed in range(count):
        calls = min(CALLS, int(math.exp(rng.uniform(0, math.log(CALLS + 1)))))
        programs.append(Program(at_s, calls, seed))
        at_s += rng.expovariate(1 / every_s)
    return programs


def run(path: Path, count: int) -> tuple[Outcome, Outcome]:
    """(least attained service, first come first served)."""
    with bench(path, order="arrival", max_rows=ROWS, cache_tokens=CACHE_TOKENS) as on:
        work_s = _work_s(on)
    # With all there at once, contexts push each other out of the cache most. Where they arrive at twice the rate of
    # that, order of arrival is just beyond what it keeps up with, in virtual time as here.
    programs = plan(count, work_s * 0.5)
    found = []
    for order in ("programs", "arrival"):
        with bench(path, order=order, max_rows=ROWS, cache_tokens=CACHE_TOKENS) as on:
            found.append(_run(on, programs))
    return found[0], found[1]


def _work_s(on: Bench) -> float:
    """Seconds of engine time that a program takes on average when all are there at once."""
    programs = [Program(0.0, program.calls, program.seed) for program in plan(24, 1.0)]
    began_s = time.perf_counter()
    _run(on, programs)
    return (time.perf_counter() - began_s) / len(programs)


def _run(on: Bench, programs: list[Program]) -> Outcome:
    took_s: dict[Program, float] = {}
    began_s = time.perf_counter()

    def follow(program: Program) -> None:
        time.sleep(max(0.0, began_s + program.arrives_s - time.perf_counter()))
        prompt = prompt_of(FIRST, program.seed)
        entered_s = time.perf_counter()
        for call in range(program.calls):
            watch = on.submit(prompt, REPLY, run=f"program-{program.seed}", agent="worker").wait()
            assert watch.finish is not None
            prompt = prompt + prompt_of(REPLY + NEXT, 1000 * program.seed + call)
            if call + 1 < program.calls:
                time.sleep(random.Random(program.seed * 31 + call).expovariate(1 / TOOL_S))
        took_s[program] = time.perf_counter() - entered_s

    threads = [threading.Thread(target=follow, args=(program,)) for program in programs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    most = max(program.calls for program in programs)
    return Outcome(
        statistics.mean(took_s.values()), max(took for program, took in took_s.items() if program.calls == most)
    )
