"""Does the logging agent find what was planted, nothing else, and does its prediction come true?

Each plant in ``plants`` is a runnable system with one waste; its decoy looks alike and is right as it is. A plant
runs, the logging agent's core looks at what its nodes recorded, the remedy is really executed (as a policy where the
finding proposes one, else in the plant's code) with the same arrivals and the same draws, and beside it the plant as
it was: the difference is the saving. An interval is of what later runs will save, so it is held against the saving of
as many runs with other arrivals and draws. By default on the wall clock, over NATS and real sockets. ``--virtual`` runs
on the in-memory bus in virtual time: quicker, and it proves less, because the plants' service times do not depend on
the machine. Beside it, on the same recordings: closed-form thresholds, and the critical path alone.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).parent))  # `make bench` leaves it out

from plants.catalogue import catalogue
from plants.clean import CLEAN
from plants.machine import QUIET, Stolen
from plants.trial import (
    NOISES,
    CleanTrial,
    Looked,
    Pair,
    Remedied,
    Trial,
    conclude,
    is_remedied,
    look,
    look_clean,
    others,
    perform_again,
    record,
    record_clean,
    try_plant,
)
from plants.world import World
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

T = TypeVar("T")

SEEDS = (1, 2)
SEVERITIES = (0.6, 1.0, 1.6)
LOADS = (0.6, 1.0, 1.4)
MANY_SEEDS = (1, 2, 3, 4, 5)
CLEAN_RUNS = 350
HARMFUL = -0.02  # of the latency; the same system twice differs by as much
LIMIT_S = 300.0  # for one plant and seed


def main() -> None:
    """Run, print tables, then the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed instead of two")
    parser.add_argument("--virtual", action="store_true", help="virtual time: 3 severities, 3 loads, 5 seeds")
    parser.add_argument("--full", action="store_true", help="all of these on the wall clock: hours")
    parser.add_argument("--only", action="append", default=[], help="a plant, such as p1_serial, or a pattern")
    parser.add_argument("--workers", type=int, default=4, help="processes; they mostly wait, and two make a pair")
    options = parser.parse_args()
    names = [n for n, p in catalogue().items() if not options.only or {n, p.pattern} & set(options.only)]
    if not names:
        parser.error(f"no plant is called so; there are {', '.join(catalogue())}")
    wide = options.full or (options.virtual and not options.quick)
    worlds = [
        World(seed=seed, severity=severity, load=load)
        for seed in (MANY_SEEDS if wide else SEEDS[:1] if options.quick else SEEDS)
        for severity in (SEVERITIES if wide else (1.0,))
        for load in (LOADS if wide else (1.0,))
    ]
    virtual = options.virtual and not options.full
    stolen = Stolen()
    with ProcessPoolExecutor(options.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        trials, calm = _tried(
            pool, [(name, world) for name in names for world in worlds], () if options.only else CLEAN, virtual=virtual
        )
    console = Console()
    title = "virtual time" if virtual else "wall clock"
    console.print(_by_world(trials, title) if wide else _table(trials, title))
    for line in _failures(trials, calm):
        console.print(line)
    console.print(_rivals(trials, calm))
    for split, part in (("tuning", False), ("held out", True)):
        subset = [trial for trial in trials if trial.held_out is part]
        if subset:
            console.print(f"{split}: recall {_recall(subset):.2f} of {len(subset)}")
    plain = [trial for trial in trials if trial.world.is_plain]
    for kind in NOISES:
        found = sum(any(s.pattern == t.pattern for s in t.noisy[kind][0]) for t in plain)
        fired = sum(any(s.grade == "A" for s in t.noisy[kind][1]) for t in plain)
        console.print(f"with noise ({kind}): found {found} of {len(plain)}, decoys fired by grade A {fired}")
    share = stolen.share()
    if not virtual and share is not None and share > QUIET:
        console.print(f"the host kept back {share:.0%} of the processor: errors and coverage say little, run it again")
    print(json.dumps({**figures(trials, calm), "virtual_time": int(virtual), "stolen": share}))


def _tried(
    pool: ProcessPoolExecutor, jobs: Sequence[tuple[str, World]], clean: Iterable[str], *, virtual: bool
) -> tuple[list[Trial], list[CleanTrial]]:
    """All plants and clean systems. On the wall clock nothing is looked at while something is being measured."""
    calm_world = World(seed=1, runs=CLEAN_RUNS)
    calm = [(name, pool.submit(record_clean, name, calm_world, virtual=virtual)) for name in clean]
    if virtual:
        trials = _gather([pool.submit(try_plant, *job, virtual=True) for job in jobs], "plants")
    else:
        recorded = _gather([pool.submit(record, *job, virtual=False) for job in jobs], "recording")
        seen = list(zip(jobs, recorded, strict=True))
        looked = _gather([pool.submit(look, *job, was) for job, was in seen], "looking")
        parts = zip(seen, looked, _remedied(pool, jobs, looked), strict=True)
        trials = [conclude(*job, was, said, becomes) for (job, was), said, becomes in parts]
    return trials, _gather([pool.submit(look_clean, name, done.result()) for name, done in calm], "clean systems")


def _remedied(
    pool: ProcessPoolExecutor, jobs: Sequence[tuple[str, World]], looked: Sequence[Looked]
) -> list[Remedied | None]:
    """Each plant again without and with its remedy, at the same time as far as there are workers for both."""
    todo = [
        (name, at, said.own, wanted)
        for (name, world), said in zip(jobs, looked, strict=True)
        if is_remedied(name, said.own)
        for at in (world, others(world))
        for wanted in (False, True)
    ]
    futures = [
        pool.submit(perform_again, name, at, own, remedied=wanted, virtual=False) for name, at, own, wanted in todo
    ]
    done = iter(_gather(futures, "remedies"))
    return [
        Remedied(same=Pair(next(done), next(done)), others=Pair(next(done), next(done)))
        if is_remedied(name, said.own)
        else None
        for (name, _), said in zip(jobs, looked, strict=True)
    ]


def figures(trials: Sequence[Trial], calm: Sequence[CleanTrial]) -> dict[str, float | None]:
    """What is judged; None where nothing can be said."""
    errors = [abs(e) for e in map(_error, trials) if e is not None]
    pairs = [(t.predicted[0], t.realised) for t in trials if t.predicted is not None and t.realised is not None]
    traces = sum(trial.traces for trial in calm)
    return {
        "precision_a": _precision(trials, calm, "A"),
        "precision_b": _precision(trials, calm, "B"),
        "recall": _recall(trials),
        "decoys_a": sum(any(said.grade == "A" for said in trial.decoy) for trial in trials),
        "false_alarms_per_1000": 1_000 * sum(len(trial.said) for trial in calm) / traces if traces else None,
        "error_median": statistics.median(errors) if errors else None,
        "error_p90": sorted(errors)[min(int(0.9 * len(errors)), len(errors) - 1)] if errors else None,
        "coverage": _share(inside for t in trials if (inside := _inside(t, t.later)) is not None),
        "coverage_same_runs": _share(inside for t in trials if (inside := _inside(t, t.realised)) is not None),
        "kendall_tau": kendall_tau(pairs),
        "harmful": sum(
            trial.automatic and (trial.failures > 0 or (trial.realised is not None and trial.realised < HARMFUL))
            for trial in trials
        ),
    }


def kendall_tau(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Kendall's tau-a: concordant less discordant pairs, of all pairs."""
    signs = [
        ((a[0] > b[0]) - (a[0] < b[0])) * ((a[1] > b[1]) - (a[1] < b[1]))
        for i, a in enumerate(pairs)
        for b in pairs[:i]
    ]
    return sum(signs) / len(signs) if signs else None


def _gather(futures: Sequence[Future[T]], what: str) -> list[T]:
    """The results in the order given."""
    with Progress(transient=True) as progress:
        bar = progress.add_task(what, total=len(futures))
        for future in as_completed(futures, timeout=LIMIT_S * max(len(futures), 1)):
            future.result()
            progress.advance(bar)
    return [future.result() for future in futures]


def _recall(trials: Sequence[Trial]) -> float | None:
    return _share(trial.found for trial in trials)


def _precision(trials: Sequence[Trial], calm: Sequence[CleanTrial], grade: str) -> float | None:
    right = [
        said.pattern == trial.pattern or said.pattern in trial.also
        for trial in trials
        for said in trial.said
        if said.grade == grade
    ]
    wrong = sum(s.grade == grade for t in trials for s in t.decoy) + sum(s.grade == grade for t in calm for s in t.said)
    return sum(right) / (len(right) + wrong) if right or wrong else None


def _share(values: Iterable[bool]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None


def _error(trial: Trial) -> float | None:
    """(predicted - realised) / realised; None where there is nothing to compare or nothing was saved."""
    if trial.predicted is None or not trial.realised:
        return None
    return (trial.predicted[0] - trial.realised) / trial.realised


def _inside(trial: Trial, saved: float | None) -> bool | None:
    """Whether the interval held what was saved; None where there is nothing to compare."""
    if trial.predicted is None or saved is None:
        return None
    return trial.predicted[1] <= saved <= trial.predicted[2]


def _by_world(trials: Sequence[Trial], title: str) -> Table:
    """A row for each severity and load, over plants and seeds."""
    table = Table("severity", "load", "found", "median error", "90th", "in 90 %", "decoys fired", title=title)
    for severity, load in sorted({(t.world.severity, t.world.load) for t in trials}):
        own = [t for t in trials if (t.world.severity, t.world.load) == (severity, load)]
        found = figures(own, ())
        table.add_row(
            f"{severity:g}",
            f"{load:g}",
            f"{sum(t.found for t in own)} of {len(own)}",
            _percent(found["error_median"]),
            _percent(found["error_p90"]),
            _percent(found["coverage"]),
            str(sum(bool(t.decoy) for t in own)),
        )
    return table


def _table(trials: Sequence[Trial], title: str) -> Table:
    table = Table(
        "plant", "seed", "found", "grade", "predicted", "90 %", "realised", "error", "later", "decoy", title=title
    )
    for trial in trials:
        own = next((said for said in trial.said if said.pattern == trial.pattern), None)
        error = _error(trial)
        table.add_row(
            trial.plant + (" *" if trial.held_out else ""),
            _world(trial.world),
            "yes" if own else "no",
            own.grade if own else "",
            "" if trial.predicted is None else f"{trial.predicted[0]:.1%}",
            "" if trial.predicted is None else f"{trial.predicted[1]:.1%} .. {trial.predicted[2]:.1%}",
            "" if trial.realised is None else f"{trial.realised:.1%} {trial.measure.removesuffix('_s')}",
            "" if error is None else f"{error:+.1%}",
            "" if trial.later is None else f"{trial.later:.1%}{'' if _inside(trial, trial.later) else ' outside'}",
            "silent" if not trial.decoy else ", ".join(f"{said.pattern} {said.grade}" for said in trial.decoy),
        )
    table.caption = "* held out"
    return table


def _world(world: World) -> str:
    return str(world.seed) if world.is_plain else f"{world.seed} s{world.severity:g} l{world.load:g}"


def _failures(trials: Sequence[Trial], calm: Sequence[CleanTrial]) -> Iterable[str]:
    for trial in trials:
        other = [s for s in trial.said if s.pattern != trial.pattern and s.pattern not in trial.also]
        for said in other:
            yield f"{trial.plant} {_world(trial.world)}: also said {said.pattern} {said.grade} of {said.subject}"
        if not trial.found:
            yield f"{trial.plant} {_world(trial.world)}: not found"
    for quiet in calm:
        for said in quiet.said:
            yield f"clean {quiet.system}: {said.pattern} {said.grade} of {said.subject}"


def _rivals(trials: Sequence[Trial], calm: Sequence[CleanTrial]) -> Table:
    table = Table("method", "recall", "decoys flagged", "clean flagged", "median error", title="beside two baselines")
    ours = [abs(e) for e in map(_error, trials) if e is not None]
    clean = f"{sum(bool(c.said) for c in calm)} of {len(calm)}"
    fired = sum(bool(t.decoy) for t in trials)
    table.add_row("antiphon", _percent(_recall(trials)), f"{fired} of {len(trials)}", clean, _median(ours))
    for kind in ("thresholds", "critical path"):
        hit = [t for t in trials if t.baselines[kind].flagged > 0.5]
        errors = [abs((t.baselines[kind].saving - t.realised) / t.realised) for t in hit if t.realised]
        table.add_row(
            kind,
            _percent(len(hit) / len(trials) if trials else None),
            f"{sum(t.decoy_baselines[kind].flagged > 0.5 for t in trials)} of {len(trials)}",
            f"{sum(c.baselines[kind].flagged > 0.5 for c in calm)} of {len(calm)}",
            _median(errors),
        )
    return table


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1%}" if values else ""


if __name__ == "__main__":
    main()
