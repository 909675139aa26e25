"""``antiphon replay | diff``: a recorded run done again, and two runs or cohorts side by side."""

import dataclasses
import json
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import typer
from pydantic import TypeAdapter, ValidationError
from rich.progress import Progress

from antiphon.runtime.cli.common import body_of, fail, run, settings
from antiphon.runtime.cli.connection import connected_host
from antiphon.runtime.cli.main import INTERRUPTED
from antiphon.runtime.cli.observe import AS_JSON, open_reader
from antiphon.runtime.cli.screen import Console
from antiphon.runtime.console.cohort import Cohort
from antiphon.runtime.console.comparing import Cohorts, contrast_of, contrasted
from antiphon.runtime.console.replays import contrast_view, counterfactual_view, difference_view, verdict_view
from antiphon.runtime.delivery.payload import problems
from antiphon.runtime.errors import AntiphonError, ConfigurationError, Unanswerable
from antiphon.runtime.host import Host
from antiphon.runtime.loader import load_system
from antiphon.runtime.policies.book import PolicyBook
from antiphon.runtime.policies.kinds import check_policy
from antiphon.runtime.replay.collect import collect
from antiphon.runtime.replay.counterfactual import Change, Counterfactual, models_of, replay_with
from antiphon.runtime.replay.difference import Difference, difference
from antiphon.runtime.replay.live import Rules
from antiphon.runtime.replay.outside import Outside
from antiphon.runtime.replay.record import RecordedRun
from antiphon.runtime.replay.strict import Verdict
from antiphon.runtime.replay.strict import replay as replay_strictly
from antiphon.runtime.store.query import Reader
from antiphon.runtime.system import System
from antiphon.runtime.whatif.ensemble import MAX_RUN_SPANS
from antiphon.schemas.policy import Policy
from antiphon.schemas.telemetry import SpanRecord

SYSTEM = typer.Option(
    "", "--system", help="FILE.py:NAME or package.module:NAME of the code that is to do it; else the setting `system`."
)
SIDE = typer.Argument(help="A run id, or the beginning of one; or a cohort, such as 'agent=writer before=2h'.")
_POLICIES: TypeAdapter[list[Policy]] = TypeAdapter(list[Policy])

T = TypeVar("T")


def replay(
    run_id: str = typer.Argument(..., metavar="RUN", help="A run id, or the beginning of one."),
    system: str = SYSTEM,
    start: str = typer.Option("", "--from", help="Do it live from this operation on: 3 or 3.b.1, as journal says."),
    message: str = typer.Option("", help="Another message, as a JSON object; - reads standard input."),
    model: list[str] = typer.Option([], metavar="OLD=NEW", help="Another model answers; several are possible."),
    policy: list[str] = typer.Option(
        [], help="Policies in force: a stored one's id, or a .json file of one or several."
    ),
    offline: bool = typer.Option(
        False, "--offline", help="Ask no model and run no tool: stop at what is not on record."
    ),
    allow_writes: bool = typer.Option(False, "--allow-writes", help="Do writes that are not on record, for real."),
    as_json: bool = AS_JSON,
) -> None:
    """Do a recorded run again from its journals, with no effect on anything, and show the first difference.

    With --from, --message, --model or --policy: what would have been? Status 1 if a plain replay diverges.
    """
    changed = bool(start or message or model or policy)
    if not changed and (offline or allow_writes):
        fail(ConfigurationError("--offline and --allow-writes are about --from, --message, --model or --policy"))
    loaded = _guarded(lambda: load_system(system_of(system)), as_json=as_json)

    async def read() -> tuple[RecordedRun, list[Policy]]:
        async with connected_host() as host:
            if settings().store_path.exists():
                with closing(open_reader()) as reader:
                    found = await collect(host.bus, reader, host.tenant, chosen(reader, run_id))
            else:
                found = await collect(host.bus, None, host.tenant, run_id)
            return found, await _stored(host, [text for text in policy if not Path(text).suffix])

    files = [Path(text) for text in policy if Path(text).suffix]
    written = _guarded(lambda: [each for path in files for each in _in_file(path)], as_json=as_json)
    record, stored = run(read(), as_json=as_json)
    if not changed:
        verdict = _guarded(lambda: _strict(loaded, record, quiet=as_json), as_json=as_json)
        _show(verdict, verdict_view, as_json=as_json)
        if verdict.divergence is not None:
            raise typer.Exit(1)
        return

    def work() -> Counterfactual:
        rules = Rules(models=models_of(model), offline=offline, allow_writes=allow_writes)
        given = json.dumps(body_of(message)).encode() if message else None
        found = settings().with_models(loaded.models)
        with Outside(found) as outside:
            change = Change(start=start or "1", message=given, policies=[*written, *stored], rules=rules)
            return replay_with(loaded, found, record, change, outside)

    _show(_guarded(work, as_json=as_json), counterfactual_view, as_json=as_json)


def diff(
    left: str = SIDE,
    right: str = SIDE,
    as_json: bool = AS_JSON,
) -> None:
    """Lay two runs side by side: aligned steps, critical path, tokens, cost and results.

    Or two cohorts, with intervals. A cohort is words such as 'workflow=planner.plan last=2h': workflow, agent, model,
    status, finding, arm, last, before and limit.
    """
    if "=" in left or "=" in right:
        _guarded(lambda: _contrast(left, right, as_json=as_json), as_json=as_json)
        return

    def work() -> Difference:
        with closing(open_reader()) as reader:
            return difference(*(_spans(reader, each) for each in (left, right)))

    _show(_guarded(work, as_json=as_json), difference_view, as_json=as_json)


def _contrast(left: str, right: str, *, as_json: bool) -> None:
    now_ns = time.time_ns()
    cohorts = Cohort.parse(left, now_ns), Cohort.parse(right, now_ns)
    with closing(open_reader()) as reader:
        if as_json:
            typer.echo(contrasted(reader, Cohorts(first=cohorts[0], second=cohorts[1]), now_ns).model_dump_json())
            return
        found, left_out, _ = contrast_of(reader, cohorts, now_ns)
    Console().print(contrast_view(found, (left, right), left_out))


def chosen(reader: Reader, prefix: str) -> str:
    """The id of the one run that begins so; ``prefix`` itself where the store has no trace of it."""
    found = reader.find(prefix) if prefix else ()
    if len(found) > 1:
        raise ConfigurationError(f"{prefix!r} is the beginning of several runs: give more of it")
    return found[0] if found else prefix


def _strict(system: System, record: RecordedRun, *, quiet: bool) -> Verdict:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
        bar = progress.add_task("replaying", total=len(record.tasks))
        return replay_strictly(system, settings(), record, lambda: progress.advance(bar))


def _spans(reader: Reader, prefix: str) -> list[SpanRecord]:
    record = reader.run(chosen(reader, prefix), max_spans=MAX_RUN_SPANS, max_logs=0)
    if record is None:
        raise Unanswerable(f"no run or trace begins with {prefix!r}: `antiphon trace` lists them")
    if record.truncated:
        raise Unanswerable(f"run {record.run.run} has more than {MAX_RUN_SPANS:,} spans: compare smaller ones")
    return list(record.spans)


async def _stored(host: Host, ids: list[str]) -> list[Policy]:
    book = await PolicyBook.open(host.bus, host.directory, host.clock, host.tenant)
    found = [(id, await book.get(id)) for id in ids]
    missing = next((id for id, policy in found if policy is None), None)
    if missing is not None:
        raise ConfigurationError(
            f"no policy {missing!r} is stored, and no file is called so: see `antiphon policy list`"
        )
    return [policy for _, policy in found if policy is not None]


def _in_file(path: Path) -> list[Policy]:
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        policies = _POLICIES.validate_python(given if isinstance(given, list) else [given])
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {problems(error)}; expected what `policy list --json` prints") from None
    except ValueError as error:
        raise ConfigurationError(f"{path} is not JSON: {error}") from None
    for each in policies:
        check_policy(each)
    return policies


def system_of(option: str) -> str:
    """What --system names, or else the setting. Raises ConfigurationError where neither does."""
    target = option or settings().system
    if not target:
        raise ConfigurationError(
            "no system is named: add --system FILE.py:NAME, or set `system` in antiphon.toml or ANTIPHON_SYSTEM"
        )
    return target


def _guarded(work: Callable[[], T], *, as_json: bool) -> T:
    """As ``run``, for work that makes its own event loop."""
    try:
        return work()
    except AntiphonError as error:
        fail(error, as_json=as_json)
    except KeyboardInterrupt:
        stopped()


def stopped() -> NoReturn:
    """A clean way out after Ctrl-C."""
    typer.echo("stopped", err=True)
    raise typer.Exit(INTERRUPTED)


def _show(found: T, view: Callable[[T], Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found), default=plain, ensure_ascii=False))  # type: ignore[call-overload]
    else:
        Console().print(view(found))


def plain(value: Any) -> Any:
    """What JSON cannot carry: replies are JSON already, other values are messages."""
    if isinstance(value, bytes):
        return json.loads(value) if value else None
    return value.model_dump(mode="json")
