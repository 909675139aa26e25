"""``antiphon doctor``: what works, what does not, and what to do about it."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer
from rich.table import Table
from rich.text import Text

from antiphon.runtime.cli.screen import Console
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.models.setting import LocalSetting
from antiphon.runtime.settings import BUILT_IN_MODELS, FILE, Settings, load_settings

if TYPE_CHECKING:
    from antiphon.runtime.checkup.verdict import Check, Verdict

# An embedded server has 10 s to start (a cluster more), and what is slow on a busy machine is not broken.
BUS_S: Final = 30.0
MODEL_S: Final = 60.0  # loading a checkpoint, torch included
DEEP_S: Final = 180.0
_STYLES: Final = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    deep: bool = typer.Option(False, "--deep", help="Also have each model say one token; may cost a little."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Look at everything that Antiphon needs; status 1 if something will not work."""
    from antiphon.runtime.checkup.verdict import Status, examine
    from antiphon.runtime.clock import SystemClock
    from antiphon.runtime.telemetry.logs import configure_logging

    configure_logging("critical", clock=SystemClock())  # what goes wrong is said below, once
    worst = Status.OK
    found: list[Verdict] = []
    console = Console()
    for verdict in examine(checks(deep=deep)):
        found.append(verdict)
        if verdict.status is Status.FAIL:
            worst = Status.FAIL
        if not as_json:
            _show(console, verdict)
    if as_json:
        rows = [{"name": v.name, "status": v.status, "found": v.found, "advice": v.advice} for v in found]
        typer.echo(json.dumps({"ok": worst is not Status.FAIL, "checks": rows}, ensure_ascii=False))
    if worst is Status.FAIL:
        raise typer.Exit(1)


def checks(*, deep: bool) -> "Sequence[Check]":
    """What is looked at, in this order. Where settings cannot be read, only what does not need them."""
    from antiphon.runtime.checkup import bus, machine, models
    from antiphon.runtime.checkup.verdict import Check, Status, Verdict
    from antiphon.runtime.clock import SystemClock

    clock = SystemClock()
    first = [
        Check(name="python", look=machine.python),
        Check(name="packages", look=machine.packages),
        Check(name="open files", look=machine.open_files),
    ]
    try:
        settings = load_settings()
    except ConfigurationError as error:
        verdict = Verdict(name="settings", status=Status.FAIL, found=error.message, advice="the rest needs settings")
        return [*first, Check(name="settings", look=partial(_told, verdict))]
    return [
        *first,
        Check(name="settings", look=partial(_told, _read(settings))),
        Check(name="home", look=partial(machine.home, settings)),
        Check(name="disk", look=partial(machine.disk, settings)),
        Check(name="server", look=partial(bus.bus, settings, clock), deadline_s=BUS_S),
        Check(name="console", look=partial(machine.console, settings)),
        *(
            Check(
                name=f"model {name}",
                look=partial(models.model, name, settings, clock, deep=deep),
                deadline_s=DEEP_S if deep else MODEL_S,
                otherwise=Status.FAIL if name == settings.default_model else Status.WARN,
            )
            for name in named(settings)
        ),
    ]


def named(settings: Settings) -> list[str]:
    """The models that somebody chose, the default first: a built-in one that nobody named need not be there. Pure."""
    default = settings.default_model
    chosen = [
        name
        for name, model in settings.models.items()
        if name == default or name not in BUILT_IN_MODELS or model != LocalSetting(path=name)
    ]
    return sorted(chosen, key=lambda name: (name != default, name))


def _read(settings: Settings) -> "Verdict":
    from antiphon.runtime.checkup.verdict import Status, Verdict

    file = next((path for path in (Path.cwd() / FILE, settings.home / FILE) if path.is_file()), None)
    where = f"{file}, and variables" if file is not None else f"no {FILE} here: variables and defaults"
    if settings.default_model in settings.models:
        return Verdict(name="settings", found=where)
    known = ", ".join(sorted(settings.models))
    found = f"{where}; the default model {settings.default_model!r} is none of {known}"
    return Verdict(name="settings", status=Status.FAIL, found=found, advice="name one of them in default_model")


async def _told(verdict: "Verdict") -> "Sequence[Verdict]":
    return [verdict]


def _show(console: Console, verdict: "Verdict") -> None:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=4)
    table.add_column(width=18)
    table.add_column(overflow="fold")
    table.add_row(Text(verdict.status, _STYLES[verdict.status]), verdict.name, Text(verdict.found))
    if verdict.advice:
        table.add_row("", "", Text(verdict.advice, "dim"))
    console.print(table)
