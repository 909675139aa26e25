"""``antiphon whatif``: recorded runs with other pools, durations, calls or models."""

import dataclasses
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import Progress

from antiphon.runtime.cli.common import fail
from antiphon.runtime.cli.observe import AS_JSON, one_run, open_reader
from antiphon.runtime.console.curves import svg
from antiphon.runtime.console.what_if import answer_view
from antiphon.runtime.durations import seconds
from antiphon.runtime.errors import AntiphonError, ConfigurationError, Unanswerable
from antiphon.runtime.store.query import Cursor, Reader, RunFilter
from antiphon.runtime.store.runs import Run, RunStatus
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.answer import answer
from antiphon.runtime.whatif.ensemble import MAX_RUN_SPANS, assemble
from antiphon.runtime.whatif.question import Question, Verb, parse
from antiphon.runtime.whatif.trace import Trace, build
from antiphon.schemas.telemetry import SpanRecord

_PAGE = 100
_SAMPLES = 50  # runs of another model that are read to learn how fast it is
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
    agent: str | None = typer.Option(None, help="Only runs in which this agent took part."),
    model: str | None = typer.Option(None, help="Only runs that used this model."),
    status: RunStatus | None = typer.Option(None, help="Only runs that ended so; without it, those that succeeded."),
    last: str = typer.Option("", help="Only runs begun in the last 10m, 24h, 7d."),
    limit: int = typer.Option(200, min=1, max=1_000, help="The newest so many runs."),
    plot: Path | None = typer.Option(None, help="Also draw the latencies before and after into this SVG file."),
    as_json: bool = AS_JSON,
) -> None:
    """Replay recorded runs with something changed: what would they have taken?"""
    try:
        question = parse(
            pool=pool, scale=scale, remove=remove, drop=drop, dedupe=dedupe, swap=swap, hedge=hedge
        )  # fmt: skip
        since_ns = round((time.time() - seconds("--last", last)) * 1e9) if last else 0
        wanted = RunFilter(agent=agent, model=model, status=status)
        quiet = as_json or not Console(stderr=True).is_terminal
        with (
            closing(open_reader()) as reader,
            Progress(console=Console(stderr=True), transient=True, disable=quiet) as progress,
        ):
            left_out: Counter[str] = Counter()
            if run:
                chosen = [one_run(reader, run, wanted)]
            else:
                chosen = [found.run for found in _choose(reader, wanted, since_ns, limit, left_out)]
            reading = progress.add_task("reading runs", total=len(chosen))
            ensemble = assemble((_spans(reader, each) for each in progress.track(chosen, task_id=reading)), left_out)
            progress.add_task("replaying", total=None)
            found = answer(question, ensemble, _samples(reader, question, chosen), random.Random(_SEED))
    except AntiphonError as error:
        fail(error, as_json=as_json)
    if plot is not None:
        _draw(plot, svg(found.before_s, found.after_s), as_json=as_json)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found), default=lambda value: value.model_dump()))
    else:
        Console().print(answer_view(found))


def _choose(reader: Reader, wanted: RunFilter, since_ns: int, limit: int, left_out: Counter[str]) -> list[Run]:
    chosen: list[Run] = []
    for run in _newest(reader, wanted):
        if run.start_ns < since_ns or len(chosen) == limit:
            break
        ended = run.entry.status not in (RunStatus.QUEUED, RunStatus.RUNNING)
        if not ended:
            left_out["still at work"] += 1
        elif wanted.status is None and run.entry.status is not RunStatus.OK:
            left_out[f"ended as {run.entry.status.value}"] += 1
        elif run.spans > MAX_RUN_SPANS:
            left_out[f"more than {MAX_RUN_SPANS:,} spans"] += 1
        else:
            chosen.append(run)
    if not chosen and not left_out:
        raise Unanswerable("no run matches: `antiphon trace` lists those there are")
    return chosen


def _newest(reader: Reader, wanted: RunFilter) -> Iterator[Run]:
    after: Cursor | None = None
    while True:
        page = reader.runs(wanted, limit=_PAGE, after=after)
        yield from page.runs
        after = page.next
        if after is None:
            return


def _spans(reader: Reader, run: str) -> list[SpanRecord]:
    record = reader.run(run, max_spans=MAX_RUN_SPANS + 1, max_logs=0)
    return [] if record is None else list(record.spans)  # removed by the retention limits since it was listed


def _samples(reader: Reader, question: Question, chosen: list[str]) -> list[Trace]:
    """Other runs that used the models asked for: they tell how fast those are."""
    found: list[Trace] = []
    seen = set(chosen)
    for change in question.changes:
        if change.verb is not Verb.SWAP:
            continue
        for run in reader.runs(RunFilter(model=change.model, obs=True), limit=_SAMPLES).runs:
            if run.run in seen or run.spans > MAX_RUN_SPANS:
                continue
            seen.add(run.run)
            trace = build([(span, facts.text(span, attr.NODE)) for span in _spans(reader, run.run)])
            found += [trace] if trace is not None else []
    return found


def _draw(path: Path, picture: str, *, as_json: bool) -> None:
    try:
        path.write_text(picture, encoding="utf-8")
    except OSError as error:
        fail(ConfigurationError(f"cannot write {path}: {error.strerror}"), as_json=as_json)
