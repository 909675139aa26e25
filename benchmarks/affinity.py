"""What affinity is worth: a trace of prompts over replicas with a prefix cache each, placed by the runtime's own rule.

``--trace FILE`` takes a trace in Mooncake's form: a JSON object a line with ``timestamp`` (ms), ``output_length`` and
``hash_ids``, one for each 512 tokens of the prompt (https://github.com/kvcache-ai/Mooncake, the conversation trace,
Apache-2.0). Without it 3,000 requests are generated: conversations that grow by a few blocks a turn, under one system
prompt.

Method: the replay is the one by which the logging agent judges a deployment (``prefix_routing``). Requests arrive as
recorded. A replica's cache is an LRU of blocks; a prompt hits as many of its first blocks as are there. A request is
under way for PREFILL_S per block and DECODE_S per token of output, wherever it is and whatever is cached: an
assumption, which decides only how many requests count against the bound. ``imbalance`` is the most blocks that a
replica was given, over the mean; ``peak`` the most requests under way at one, over the mean at that moment, where at
least one for each replica was. Nothing waits and nothing is timed: the figures are counts, the same on every machine.
"""

import argparse
import gzip
import heapq
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from antiphon.agents.logging_agent.prefix_routing import Request, Route, affine, anywhere, serve

PREFILL_S = 0.05
DECODE_S = 0.02
QUICK = 2_000


class Found(NamedTuple):
    """What one rule came to."""

    hit_share: float
    imbalance: float
    peak: float


def request(at_s: float, blocks: Sequence[object], output_tokens: int) -> Request:
    """One prompt."""
    lasts_s = len(blocks) * PREFILL_S + output_tokens * DECODE_S
    return Request(blocks=list(map(str, blocks)), start=at_s, end=at_s + lasts_s)


def read(path: Path) -> list[Request]:
    """A trace in Mooncake's form."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        rows = [json.loads(line) for line in lines]
    return [request(row["timestamp"] / 1e3, row["hash_ids"], row["output_length"]) for row in rows]


def generated(rng: random.Random) -> list[Request]:
    """Conversations in turns, each prompt the one before and some blocks more."""
    found: list[Request] = []
    fresh = 1
    while len(found) < 3_000:
        blocks: list[int] = [0]
        at_s = rng.uniform(0.0, 600.0)
        for _ in range(rng.randint(1, 12)):
            more = rng.randint(1, 12)
            blocks += range(fresh, fresh + more)
            fresh += more
            found.append(request(at_s, blocks, rng.randint(50, 500)))
            at_s += rng.uniform(5.0, 60.0)
    return sorted(found, key=lambda each: each.start)


def run(requests: Sequence[Request], route: Route, replicas: int, capacity: int) -> Found:
    """Place every request by the rule."""
    routed = serve(requests, route, replicas=[f"model-{number}" for number in range(replicas)], capacity=capacity)
    return Found(routed.hit_share, routed.imbalance, _peak(requests, routed.replicas, replicas))


def rules(rng: random.Random) -> dict[str, Route]:
    """By name: at random, as a queue group does; and by the beginning, under several bounds."""
    bounds = (1.0, 1.1, 1.25, 1.5, 2.0)
    return {
        "random": anywhere(rng),
        **{f"affine {bound:g}": affine(bound) for bound in bounds},
        "affine unbounded": affine(1e9),
    }


def main() -> None:
    """Print a table, then one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trace", type=Path, help="a file in Mooncake's form; else prompts are generated")
    parser.add_argument("--replicas", type=int, default=8)
    parser.add_argument("--blocks", type=int, default=5_000, help="what each replica's cache holds")
    parser.add_argument("--quick", action="store_true", help=f"the first {QUICK} requests")
    options = parser.parse_args()
    requests = read(options.trace) if options.trace is not None else generated(random.Random(1))
    if options.quick:
        requests = requests[:QUICK]
    found = {
        name: run(requests, rule, options.replicas, options.blocks) for name, rule in rules(random.Random(1)).items()
    }
    table = Table(
        "rule", "hit share", "imbalance", "peak", title=f"{len(requests)} requests, {options.replicas} replicas"
    )
    for name, (hit_share, imbalance, peak) in found.items():
        table.add_row(name, f"{hit_share:.1%}", f"{imbalance:.2f}", f"{peak:.2f}")
    Console().print(table)
    rounded = {name: {key: round(value, 4) for key, value in each._asdict().items()} for name, each in found.items()}
    sizes = {"requests": len(requests), "replicas": options.replicas, "cache_blocks": options.blocks}
    print(json.dumps({"benchmark": "affinity", "trace": options.trace is not None, **sizes, "rules": rounded}))


def _peak(requests: Sequence[Request], placed: Sequence[str], replicas: int) -> float:
    load: dict[str, int] = {}
    under_way: list[tuple[float, str]] = []
    peak = 0.0
    for each, replica in zip(requests, placed, strict=True):
        while under_way and under_way[0][0] <= each.start:
            load[heapq.heappop(under_way)[1]] -= 1
        heapq.heappush(under_way, (each.end, replica))
        load[replica] = load.get(replica, 0) + 1
        if len(under_way) >= replicas:
            peak = max(peak, load[replica] * replicas / len(under_way))
    return peak


if __name__ == "__main__":
    main()
