"""A fresh process: from its start to the first token, then its memory with sixteen contexts of 1,000 tokens."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from engine_cases.load import LIMIT_S, bench, prompt_of

CONTEXTS, TOKENS = 16, 1000


@dataclass(frozen=True)
class Start:
    """Seconds from the start of Python to the first token; megabytes resident."""

    first_token_s: float
    rss_mb: float


def run(path: Path) -> Start:
    """Measure it in a child."""
    began_s = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "engine_cases.start", str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    assert child.stdout is not None
    child.stdout.readline()
    first_token_s = time.perf_counter() - began_s
    rss_mb = json.loads(child.stdout.readline())
    child.wait(60)
    return Start(first_token_s, rss_mb)


def _resident_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("found no VmRSS in /proc/self/status, expected Linux")


def _child(path: Path) -> None:
    with bench(path, itl_target_s=LIMIT_S) as on:  # all sixteen fit into a step, however slow the machine is
        on.submit(prompt_of(16, 0), 1).wait()
        print("first token", flush=True)
        for at in range(CONTEXTS):  # one prompt a step, and the replies to those before it
            watch = on.submit(prompt_of(TOKENS, 1 + at), 10_000)
            ends_s = time.perf_counter() + LIMIT_S
            while not watch.token_s:
                if time.perf_counter() > ends_s:
                    raise TimeoutError(f"found a context without a token after {LIMIT_S} s")
                time.sleep(0.05)  # memory is looked at while all are under way: there is no end to wait for
        print(json.dumps(_resident_mb()), flush=True)
        on.cancel_all()


if __name__ == "__main__":
    _child(Path(sys.argv[1]))
