"""``antiphon whatif``: recorded runs with other pools, durations, calls or models."""

import dataclasses
import json
import random
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import typer
from rich.progress import Progress

from antiphon.runtime.cli.common import fail
from antiphon.runtime.cli.observe import AS_JSON, one_run, open_reader
from antiphon.runtime.cli.screen import Console
from antiphon.runtime.console.cohort import LIMIT, MOST, Cohort, choose, samples, spans_of
from antiphon.runtime.console.curves import svg
from antiphon.runtime.console.what_if import answer_view
from antiphon.runtime.durations import seconds
from antiphon.runtime.errors import AntiphonError, ConfigurationError
from antiphon.runtime.store.query import RunFilter
from antiphon.runtime.store.runs import RunStatus
from antiphon.runtime.whatif.answer import answer
from antiphon.runtime.whatif.ensemble import assemble
from antiphon.runtime.whatif.question import parse

_SEED = 1


def whatif(
    run: str = typer.Argument("", help="A run, trace or task id, or the beginning of one; without it, the newest."),
    pool: list[str] = typer.Option([], help="Slots: agent:critic=8, model:m=4, or a pool's whole id."),
    scale: list[str] = typer.Option([], help="Times as long: model:m=0.5, tool:search=2, agent:critic=0.8."),
    remove: list[str] = typer.Option([], help="Never asked for: tool:x, agent:x, model:x."),
    drop: list[str] = typer.Option([], help="Nobody waits for it, and it is never begun: agent:critic."),
    dedupe: list[str] = typer.Option([], help="Equal calls share one result, at any age or up to one: tool:y=60s."),
    swap: list[str] = typer.Option([], help="Another model answers: model:big=small, or the model calls of an agent."),
    hedge: list[str] = typer.Option([], help="A second attempt after a delay: tool:z=500ms, agent:critic=2s."),
    single_flight: list[str] = typer.Option([], help="Equal calls share one that is under way: tool:y, model:m."),
    parallelise: list[str] = typer.Option([], help="Declared steps run together: agent:clerk, agent:clerk.refund=8."),
    least_attained: list[str] = typer.Option([], help="Runs that had least of it are served first: model:m."),
    workflow: str | None = typer.Option(None, help="Only runs that came in by this handler: planner.plan."),
    agent: str | None = typer.Option(None, help="Only runs in which this agent took part."),
    model: str | None = typer.Option(None, help="Only runs that used this model."),
    status: RunStatus | None = typer.Option(None, help="Only runs that ended so; without it, those that succeeded."),
    finding: str | None = typer.Option(None, help="Only runs that are evidence of this finding: its whole id."),
    arm: str | None = typer.Option(None, help="Only runs in an arm of a policy: POLICY=treated, POLICY=control."),
    last: str = typer.Option("", help="Only runs begun in the last 10m, 24h, 7d."),
    limit: int = typer.Option(LIMIT, min=1, max=MOST, help="The newest so many runs."),
    plot: Path | None = typer.Option(None, help="Also draw the latencies before and after into this SVG file."),
    as_json: bool = AS_JSON,
) -> None:
    """Replay recorded runs with something changed: what would they have taken?"""
    try:
        question = parse(
            pool=pool, scale=scale, remove=remove, drop=drop, dedupe=dedupe, swap=swap, hedge=hedge,
            single_flight=single_flight, parallelise=parallelise, least_attained=least_attained,
        )  # fmt: skip
        cohort = Cohort(
            workflow=workflow, agent=agent, model=model, status=status, finding=finding, arm=arm,
            last_s=seconds("--last", last) if last else None, limit=limit,
        )  # fmt: skip
        quiet = as_json or not Console(stderr=True).is_terminal
        with (
            closing(open_reader()) as reader,
            Progress(console=Console(stderr=True), transient=True, disable=quiet) as progress,
        ):
            left_out: Counter[str] = Counter()
            if run:
                chosen = [one_run(reader, run, RunFilter(agent=agent, model=model, status=status))]
            else:
                runs = choose(reader, cohort, now_ns=time.time_ns(), left_out=left_out)
                chosen = [each.run for each in runs]
            reading = progress.add_task("reading runs", total=len(chosen))
            ensemble = assemble((spans_of(reader, each) for each in progress.track(chosen, task_id=reading)), left_out)
            progress.add_task("replaying", total=None)
            found = answer(question, ensemble, samples(reader, question, chosen), random.Random(_SEED))
    except AntiphonError as error:
        fail(error, as_json=as_json)
    if plot is not None:
        _draw(plot, svg(found.before_s, found.after_s), as_json=as_json)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found), default=lambda value: value.model_dump()))
    else:
        Console().print(answer_view(found))


def _draw(path: Path, picture: str, *, as_json: bool) -> None:
    try:
        path.write_text(picture, encoding="utf-8")
    except OSError as error:
        fail(ConfigurationError(f"cannot write {path}: {error.strerror}"), as_json=as_json)
