"""``antiphon models``: what can be asked for, and getting more."""

import json
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from antiphon.runtime.cli.common import fail, settings
from antiphon.runtime.errors import AntiphonError
from antiphon.runtime.models.pull import PullProgress, pull
from antiphon.runtime.models.setting import BusSetting, LocalSetting, ModelSetting

app = typer.Typer(help="List and pull models.", no_args_is_help=True)


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


def _source(model: ModelSetting) -> str:
    if isinstance(model, LocalSetting):
        return model.path
    if isinstance(model, BusSetting):
        return f"model {model.model or 'of the same name'} on the bus"
    return f"{model.base_url}#{model.model}"
