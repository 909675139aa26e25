"""What every command shares: settings, error output, running async code with clean interruption."""

import asyncio
import getpass
import json
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

import typer

from antiphon.runtime.cli.main import INTERRUPTED
from antiphon.runtime.cli.screen import printable
from antiphon.runtime.errors import AntiphonError, ConfigurationError, InvalidMessage
from antiphon.runtime.settings import Settings, load_settings

T = TypeVar("T")
EXAMPLE = """'{"text": "hi"}'"""


def settings() -> Settings:
    """The settings of this process; a bad one ends the command with its explanation."""
    try:
        return load_settings()
    except ConfigurationError as error:
        fail(error)


def fail(error: AntiphonError, *, as_json: bool = False) -> NoReturn:
    """Say what went wrong on standard error and leave with status 1."""
    if as_json:
        typer.echo(json.dumps({"error": error.info().model_dump()}))
    else:
        typer.secho(f"{type(error).__name__}: ", fg="red", bold=True, nl=False, err=True)
        typer.echo(printable(error.message), err=True)
    raise typer.Exit(1)


def run(work: Coroutine[Any, Any, T], *, as_json: bool = False) -> T:
    """Run async work to its end; AntiphonErrors become messages, Ctrl-C and SIGTERM a clean stop."""
    try:
        return asyncio.run(_interruptible(work))
    except AntiphonError as error:
        fail(error, as_json=as_json)
    except (KeyboardInterrupt, asyncio.CancelledError):
        typer.echo("stopped", err=True)
        raise typer.Exit(INTERRUPTED) from None


async def _interruptible(work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    # SIGTERM is what supervisors send: the same orderly way out as Ctrl-C.
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def until_signalled() -> asyncio.Event:
    """An event that Ctrl-C, SIGTERM and a hang-up set, for commands that serve until told to stop.

    A second Ctrl-C ends the process at once, for whoever does not want to wait for the drain: what it holds is
    taken over when its leases lapse. Other signals that are repeated change nothing; supervisors send them twice
    (``timeout`` to the process and to its group).
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            if number is signal.SIGINT:
                os._exit(INTERRUPTED)  # sys.exit would have asyncio cancel and await every task, the drain among them
            return
        typer.echo(f"{number.name}: draining; press Ctrl-C again to stop at once", err=True)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal, number)
    return stop


def body_of(text: str) -> dict[str, Any]:
    """The JSON object a person typed; ``-`` reads standard input.

    Raises:
        InvalidMessage: it is no JSON object; says where it breaks.
    """
    raw = sys.stdin.read() if text == "-" else text
    try:
        found = json.loads(raw)
    except ValueError as error:
        raise InvalidMessage(
            f'the message is not JSON ({error}): expected an object such as \'{{"text": "hi"}}\''
        ) from None
    if not isinstance(found, dict):
        raise InvalidMessage(f"the message is a JSON {type(found).__name__}, expected an object")
    return found


def login() -> str:
    """The login name of whoever runs the command. Raises ConfigurationError."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise ConfigurationError("this system has no login name for you: say who it is with --by NAME") from None
