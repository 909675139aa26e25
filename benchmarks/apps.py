"""Applying what the logging agent suggests, against tuning by hand, on three systems in which nobody planted a waste.

Each system runs plainly written; the logging agent's core looks at the record; every policy that it proposes is set,
and advice that is words is followed where the system has exactly that edit. Then the same arrivals with the same
draws again, and once more in the version that was tuned by hand before any finding was looked at. Savings are of the
mean latency. Quality is the mean score with the suggestions less that without, with a 90 % bootstrap interval over
runs.
"""

import argparse
import asyncio
import json
import logging
import random
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # `make bench` leaves it out

import structlog
from apps_cases import retrieval, reviewers, support
from apps_cases.app import Advice, App
from plants import judge, stage
from plants.plant import Build
from plants.stage import Recording
from plants.world import World
from rich.console import Console
from rich.table import Table

from antiphon.runtime.testing import run_virtual
from antiphon.schemas.finding import Finding
from antiphon.schemas.policy import Level, Policy

APPS = (retrieval.APP, support.APP, reviewers.APP)
RESAMPLES = 1_000
NOT_INFERIOR = -0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One app and seed. Latencies are means in seconds; ``quality``: difference, low and high."""

    app: str
    findings: tuple[str, ...]
    plain_s: float
    suggested_s: float
    tuned_s: float
    quality: tuple[float, float, float]

    @property
    def share(self) -> float:
        """Of the saving by hand."""
        by_hand = self.plain_s - self.tuned_s
        return (self.plain_s - self.suggested_s) / by_hand if by_hand else 0.0


def perform(build: Build, world: World, policies: Sequence[Policy], *, virtual: bool) -> Recording:
    """One run of a system."""
    if virtual:
        return run_virtual(stage.virtual_time(build, world, policies), seed=world.seed)
    return asyncio.run(stage.wall_clock(build, world, policies))


def tried(app: App, world: World, *, virtual: bool) -> Result:
    """Plain, as suggested, and by hand."""
    plain = perform(app.plain(world, frozenset()), world, (), virtual=virtual)
    found = sorted(judge.look(plain.batches), key=lambda f: -(judge.predicted(f, "latency_s") or (0.0,))[0])
    advice: Advice = app.follows & {f.pattern for f in found if f.remedy.proposal is None}
    suggested = perform(app.plain(world, advice), world, list(_policies(found)), virtual=virtual)
    tuned = perform(app.tuned(world), world, (), virtual=virtual)
    return Result(
        app=app.name,
        findings=tuple(f"{f.pattern} {f.grade.value} {f.subject}" for f in found),
        plain_s=plain.mean_s(),
        suggested_s=suggested.mean_s(),
        tuned_s=tuned.mean_s(),
        quality=_quality(app.plain(world, frozenset()), plain, suggested),
    )


def _policies(found: Sequence[Finding]) -> Sequence[Policy]:
    """One for each thing that would be changed: of two findings about it the one that saves more."""
    chosen: dict[tuple[str, str], Policy] = {}
    for number, finding in enumerate(found):
        proposal = finding.remedy.proposal
        if proposal is not None:
            key = proposal.action.kind, proposal.target
            chosen.setdefault(key, Policy(id=f"suggested-{number}", proposal=proposal, level=Level.ON))
    return list(chosen.values())


def _quality(build: Build, before: Recording, after: Recording) -> tuple[float, float, float]:
    assert build.score is not None
    differences = []
    for number in before.runs.keys() & after.runs.keys():
        was, becomes = before.runs[number].result, after.runs[number].result
        scored = [0.0 if result is None else build.score(number, result) for result in (was, becomes)]
        differences.append(scored[1] - scored[0])
    rng = random.Random(1)
    means = sorted(statistics.fmean(rng.choices(differences, k=len(differences))) for _ in range(RESAMPLES))
    return statistics.fmean(differences), means[RESAMPLES // 20], means[-RESAMPLES // 20]


def main() -> None:
    """Run, print a table, then the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed and 60 runs instead of two and 120")
    parser.add_argument("--virtual", action="store_true", help="virtual time: seconds, and proves less")
    parser.add_argument("--only", action="append", default=[], choices=[app.name for app in APPS])
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    console = Console()
    results = []
    for app in APPS:
        for seed in (1,) if options.quick else (1, 2):
            if not options.only or app.name in options.only:
                results.append(tried(app, World(seed=seed, runs=60 if options.quick else 120), virtual=options.virtual))
                console.print(f"{app.name} {seed}: {', '.join(results[-1].findings) or 'nothing found'}")
    table = Table("system", "plain", "as suggested", "by hand", "share", "quality (90 %)")
    for result in results:
        low, high = result.quality[1:]
        table.add_row(
            result.app,
            f"{result.plain_s:.3f} s",
            f"{result.suggested_s:.3f} s",
            f"{result.tuned_s:.3f} s",
            f"{result.share:.0%}",
            f"{result.quality[0]:+.3f} ({low:+.3f} .. {high:+.3f})",
        )
    console.print(table)
    by_hand = sum(result.plain_s - result.tuned_s for result in results)
    figures = {
        "share_of_hand_tuned": sum(result.plain_s - result.suggested_s for result in results) / by_hand,
        "quality_delta": min(result.quality[0] for result in results),
        "quality_delta_low": min(result.quality[1] for result in results),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
