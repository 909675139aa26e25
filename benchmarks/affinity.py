"""What affinity is worth: a trace of prompts over replicas with a prefix cache each, placed by the runtime's own rule.

``--trace FILE`` takes a trace in Mooncake's form: a JSON object a line with ``timestamp`` (ms), ``output_length`` and
``hash_ids``, one for each 512 tokens of the prompt (https://github.com/kvcache-ai/Mooncake, the conversation trace,
Apache-2.0). Without it 3,000 requests are generated: conversations that grow by a few blocks a turn, under one system
prompt.

Method: requests arrive as recorded. A replica's cache is an LRU of blocks; a prompt hits as many of its first blocks
as are there. A request is under way for PREFILL_S per block that missed and DECODE_S per token of output, whatever
else the replica does: an assumption, which decides only how many requests count against the bound. ``imbalance`` is
the most requests that a replica was given, over the mean; ``peak`` the most under way at one, over the mean at that
moment, where at least one for each replica was. Nothing waits and nothing is timed: the figures are counts, the same
on every machine.
"""

import argparse
import gzip
import heapq
import json
import random
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from antiphon.runtime.policies.rendezvous import placed

PREFILL_S = 0.05
DECODE_S = 0.02
BLOCKS = 2  # that decide, as in the runtime
QUICK = 2_000

Rule = Callable[[str, Mapping[str, int]], str]


class Request(NamedTuple):
    """One prompt."""

    at_s: float
    blocks: tuple[int, ...]
    output_tokens: int


class Found(NamedTuple):
    """What one rule came to."""

    hit_share: float
    imbalance: float
    peak: float


class Replica:
    """A prefix cache of so many blocks."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def take(self, blocks: tuple[int, ...]) -> int:
        """How many of the first blocks are there; all of them are afterwards."""
        hits = next((index for index, block in enumerate(blocks) if block not in self._blocks), len(blocks))
        for block in blocks:
            self._blocks[block] = None
            self._blocks.move_to_end(block)
        while len(self._blocks) > self._capacity:
            self._blocks.popitem(last=False)
        return hits


def read(path: Path) -> list[Request]:
    """A trace in Mooncake's form."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        rows = [json.loads(line) for line in lines]
    return [Request(row["timestamp"] / 1e3, tuple(row["hash_ids"]), row["output_length"]) for row in rows]


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
            found.append(Request(at_s, tuple(blocks), rng.randint(50, 500)))
            at_s += rng.uniform(5.0, 60.0)
    return sorted(found)


def run(requests: list[Request], rule: Rule, replicas: int, capacity: int) -> Found:
    """Place every request by the rule."""
    caches = {f"model-{number}": Replica(capacity) for number in range(replicas)}
    load, given = dict.fromkeys(caches, 0), Counter(dict.fromkeys(caches, 0))
    under_way: list[tuple[float, str]] = []
    hits = blocks = 0
    peak = 0.0
    for request in requests:
        while under_way and under_way[0][0] <= request.at_s:
            load[heapq.heappop(under_way)[1]] -= 1
        name = rule(str(request.blocks[:BLOCKS]), load)
        hit = caches[name].take(request.blocks)
        hits, blocks = hits + hit, blocks + len(request.blocks)
        lasts_s = (len(request.blocks) - hit) * PREFILL_S + request.output_tokens * DECODE_S
        heapq.heappush(under_way, (request.at_s + lasts_s, name))
        load[name] += 1
        given[name] += 1
        if len(under_way) >= replicas:
            peak = max(peak, load[name] * replicas / len(under_way))
    return Found(hits / blocks, max(given.values()) * replicas / len(requests), peak)


def rules(rng: random.Random) -> dict[str, Rule]:
    """By name: at random, as a queue group does; and by the beginning, under several bounds."""

    def bounded(imbalance: float) -> Rule:
        return lambda key, load: placed(key, load, imbalance)[0]

    bounds = (1.0, 1.1, 1.25, 1.5, 2.0)
    return {
        "random": lambda key, load: rng.choice(list(load)),
        **{f"affine {bound:g}": bounded(bound) for bound in bounds},
        "affine unbounded": bounded(1e9),
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


if __name__ == "__main__":
    main()
