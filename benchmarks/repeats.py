"""How often agents repeat a tool call: 200 recorded episodes of tau-bench's airline domain (1,164 calls, no timings).

A call repeats another when name and arguments are equal. Within an episode a write in between makes a new question of
it. Across episodes several trials of one task inflate the share, so it is also given for one trial of each task alone.
Beside the counts: what the detectors for repeats (P4) and for loops without progress (P6) say of the same calls as
spans, a second apart. Attribution and licence are in the README beside the file.
"""

import argparse
import gzip
import hashlib
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from antiphon.agents.logging_agent.core import LoggingCore
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif.testing import S, Traced
from antiphon.schemas.finding import Finding, FindingState
from antiphon.schemas.telemetry import TelemetryBatch

EPISODES = Path(__file__).parents[1] / ".." / "shared" / "data" / "tau_airline.json.gz"
PURE = frozenset({"calculate", "think"})
READS = frozenset(
    {
        "get_user_details",
        "get_reservation_details",
        "search_direct_flight",
        "search_onestop_flight",
        "list_all_airports",
    }
)
TTL_S = 3_600

Call = tuple[str, str, str]  # name, arguments, result


def calls_of(episode: Sequence[Mapping[str, Any]]) -> list[Call]:
    """The episode's tool calls in order, arguments and results as canonical text."""
    results = {m.get("tool_call_id"): str(m["content"]) for m in episode if m["role"] == "tool"}
    return [
        (wish["function"]["name"], json.dumps(json.loads(wish["function"]["arguments"]), sort_keys=True),
         results.get(wish["id"], ""))
        for message in episode
        for wish in message.get("tool_calls") or ()
    ]  # fmt: skip


def within(episodes: Iterable[Sequence[Call]]) -> tuple[int, int, int]:
    """Calls, exact repeats in their episode, and those of them that only read, with no write in between."""
    total = repeats = cacheable = 0
    for calls in episodes:
        seen: set[tuple[str, str]] = set()
        fresh: set[tuple[str, str]] = set()
        for name, arguments, _ in calls:
            key = name, arguments
            total += 1
            repeats += key in seen
            cacheable += key in fresh
            seen.add(key)
            if name in READS | PURE:
                fresh.add(key)
            else:
                fresh.clear()
    return total, repeats, cacheable


def across(episodes: Iterable[Sequence[Call]]) -> tuple[int, int, int]:
    """Reading calls, those that any earlier episode made, and those of them that gave the same result."""
    known: dict[tuple[str, str], str] = {}
    total = repeats = agreed = 0
    for calls in episodes:
        for name, arguments, result in calls:
            if name in READS | PURE:
                total += 1
                before = known.setdefault((name, arguments), result)
                repeats += before is not result
                agreed += before is not result and before == result
    return total, repeats, agreed


def findings(episodes: Sequence[Sequence[Call]]) -> list[str]:
    """What the logging agent's core says of the calls, as spans of 200 ms, one a second."""
    core = LoggingCore(rng=random.Random(1))
    found: dict[str, Finding] = {}
    for number, calls in enumerate(episodes, 1):
        trace = Traced(number)
        root = trace.ask(None, "airline.serve", 0, 1_000 * len(calls) + 500)
        for at, (name, arguments, result) in enumerate(calls):
            effect = "pure" if name in PURE else "read" if name in READS else "write"
            ttl_s = TTL_S if effect == "read" else None
            start_ms = 1_000 * at
            span = trace.tool(
                root,
                name,
                start_ms,
                start_ms + 200,
                effect=effect,
                content=_digest(arguments),
                antiphon__tool__ttl_s=ttl_s,
            )
            span.attributes[attr.RESULT_HASH] = _digest(result)
        now_ns = trace.at_ns + 1_000 * S
        core.feed(TelemetryBatch(node="n", sequence=number, spans=trace.spans), now_ns)
        found.update((finding.id, finding) for finding in core.tick(now_ns + 3 * S))
    return [
        f"{f.pattern.upper()} {f.grade.value} {f.subject}: {f.remedy.text}"
        for f in found.values()
        if f.state is FindingState.OPEN
    ]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def main() -> None:
    """Read, count, print a table, then the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the same: it takes seconds")
    parser.add_argument("--data", type=Path, default=EPISODES, help="tau_airline.json.gz")
    options = parser.parse_args()
    if not options.data.is_file():
        parser.error(f"{options.data} is not there: name the file with --data")
    recorded = json.loads(gzip.decompress(options.data.read_bytes()))
    episodes = [calls_of(episode["traj"]) for episode in recorded]
    once = [calls_of(episode["traj"]) for episode in recorded if episode["trial"] == 0]
    total, repeats, cacheable = within(episodes)
    reads, again, agreed = across(episodes)
    reads_once, again_once, agreed_once = across(once)
    table = Table("calls", "of", "share", title=f"{len(episodes)} episodes, {total:,} tool calls")
    table.add_row("repeated in their episode", f"{total:,}", f"{repeats / total:.1%}")
    table.add_row("of them reads with no write in between", f"{total:,}", f"{cacheable / total:.1%}")
    table.add_row("reads that an earlier episode made", f"{reads:,}", f"{again / reads:.1%}")
    table.add_row("the same, one trial of each task", f"{reads_once:,}", f"{again_once / reads_once:.1%}")
    table.add_row("of these with the same result", f"{again_once:,}", f"{agreed_once / max(again_once, 1):.1%}")
    console = Console()
    console.print(table)
    for line in findings(episodes):
        console.print(line)
    figures = {
        "calls": total,
        "repeated_within": repeats / total,
        "cacheable_within": cacheable / total,
        "repeated_across": again / reads,
        "repeated_across_one_trial": again_once / reads_once,
        "agreement_across": agreed / max(again, 1),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
