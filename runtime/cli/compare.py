"""``antiphon compare | try-model``: two versions of a system on the same recorded tasks."""

import asyncio
import dataclasses
import json
from collections.abc import Callable
from contextlib import ExitStack, closing

import typer
from rich.progress import Progress

from antiphon.runtime.cli.common import fail, settings
from antiphon.runtime.cli.dataset import examples_on
from antiphon.runtime.cli.observe import AS_JSON, open_reader
from antiphon.runtime.cli.replay import SYSTEM, plain, stopped, system_of
from antiphon.runtime.cli.screen import Console
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.console.replays import comparison_view
from antiphon.runtime.errors import AntiphonError, Unanswerable
from antiphon.runtime.loader import load_system
from antiphon.runtime.replay.collect import collect
from antiphon.runtime.replay.compare import Comparison, Version
from antiphon.runtime.replay.compare import compare as compare_versions
from antiphon.runtime.replay.counterfactual import models_of
from antiphon.runtime.replay.dataset import Example
from antiphon.runtime.replay.live import ANY
from antiphon.runtime.replay.outside import Outside
from antiphon.runtime.replay.record import RecordedRun
from antiphon.runtime.replay.recordings import Recordings
from antiphon.runtime.replay.scorers import EXACT, scorer_of
from antiphon.runtime.store.query import Reader
from antiphon.runtime.telemetry.logs import configure_logging

ON = typer.Option("last 7d", "--on", help="'last 7d', a dataset's name, or a JSONL file.")
AGENT = typer.Option(None, help="Only tasks that this agent was given from outside.")
SEEDS = typer.Option(5, min=1, max=100, help="How often each task is done in each version.")
SCORER = typer.Option(EXACT, "--scorer", help="exact, module:function(input, output, expected), or judge:MODEL.")
LIMIT = typer.Option(50, min=1, max=10_000, help="The newest so many tasks.")
_MODEL = "model:"


def compare(
    first: str = typer.Argument(help="FILE.py:NAME or package.module:NAME of a system."),
    second: str = typer.Argument(help="Another one, or model:OLD=NEW for the first one with a model swapped."),
    on: str = ON,
    agent: str | None = AGENT,
    seeds: int = SEEDS,
    scorer: str = SCORER,
    limit: int = LIMIT,
    as_json: bool = AS_JSON,
) -> None:
    """Do recorded tasks with two versions of a system: quality, latency, tokens and cost, paired, with intervals.

    Models are asked live in both, with the same seeds; tools answer from the record; nothing is written.
    """

    def versions(stack: ExitStack) -> tuple[Version, Version]:
        a = _version(stack, first)
        if not second.startswith(_MODEL):
            return a, _version(stack, second)
        return a, dataclasses.replace(a, name=second, models=models_of([second.removeprefix(_MODEL)]))

    _compare(versions, on, agent, seeds, scorer, limit, as_json=as_json)


def try_model(
    new: str = typer.Argument(help="The model to try."),
    system: str = SYSTEM,
    old: str = typer.Option(ANY, "--for", help="The model it stands in for; every one if not given."),
    on: str = ON,
    agent: str | None = AGENT,
    seeds: int = SEEDS,
    scorer: str = SCORER,
    limit: int = LIMIT,
    as_json: bool = AS_JSON,
) -> None:
    """Compare a system with itself, one model swapped, on recorded tasks."""

    def versions(stack: ExitStack) -> tuple[Version, Version]:
        a = _version(stack, system_of(system))
        return a, dataclasses.replace(a, name=new, models={old: new})

    _compare(versions, on, agent, seeds, scorer, limit, as_json=as_json)


def _version(stack: ExitStack, target: str) -> Version:
    system = load_system(target)
    found = settings().with_models(system.models)
    return Version(name=target, system=system, settings=found, outside=stack.enter_context(Outside(found)), models={})


def _compare(
    versions: Callable[[ExitStack], tuple[Version, Version]],
    on: str,
    agent: str | None,
    seeds: int,
    scorer: str,
    limit: int,
    *,
    as_json: bool,
) -> None:
    configure_logging("error", clock=SystemClock())
    console = Console(stderr=True)
    try:
        with (
            closing(open_reader()) as reader,
            ExitStack() as stack,
            Progress(console=console, transient=True, disable=as_json or not console.is_terminal) as progress,
        ):
            first, second = versions(stack)
            found_on, left_out = examples_on(reader, on, agent, limit)
            examples = [each for each in found_on if not each.error]
            if len(examples) < len(found_on):
                left_out["failed then, so that there is no result to compare with"] += len(found_on) - len(examples)
            if not as_json:
                for reason, count in left_out.most_common():
                    typer.echo(f"{count:,} left out: {reason}", err=True)
            bar = progress.add_task("comparing", total=len(examples) * seeds)
            found: Comparison = compare_versions(
                first,
                second,
                examples,
                seeds=seeds,
                scorer=scorer_of(scorer, first.outside),
                recordings=_Records(reader).of,
                progress=lambda: progress.advance(bar),
            )
    except AntiphonError as error:
        fail(error, as_json=as_json)
    except KeyboardInterrupt:
        stopped()
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found), default=plain))
    else:
        Console().print(comparison_view(found))


class _Records:
    """The recorded run of the example at hand: the same one is asked for once for every trial."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._name = ""
        self._run: RecordedRun | None = None

    def of(self, example: Example) -> Recordings:
        """What the example's run recorded; nothing where its journals are gone."""
        if example.run != self._name:
            self._name, self._run = example.run, None
            try:
                self._run = asyncio.run(collect(None, self._reader, settings().tenant, example.run))
            except Unanswerable:
                self._run = None
        return Recordings(()) if self._run is None else Recordings.of(self._run)
