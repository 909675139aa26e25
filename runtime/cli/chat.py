"""``antiphon chat``: talk with a handler, line by line, and see its answers as they come."""

import getpass
import sys
from collections.abc import Iterator
from concurrent.futures import Future

import typer

from antiphon.runtime.agent import Handler
from antiphon.runtime.cli.background import Background, background
from antiphon.runtime.cli.chat_form import Form, form_of
from antiphon.runtime.cli.chat_output import JsonLines, Output, Terminal
from antiphon.runtime.cli.common import fail
from antiphon.runtime.cli.connection import connected, find_handler
from antiphon.runtime.cli.main import INTERRUPTED
from antiphon.runtime.client import Client, Done
from antiphon.runtime.delivery.following import Following
from antiphon.runtime.described import handler_of
from antiphon.runtime.errors import AntiphonError
from antiphon.schemas.message import Message
from antiphon.schemas.node import HandlerCard

PROMPT = "> "


def chat(
    address: str = typer.Argument(help="agent.handler, such as writer.write"),
    session: str = typer.Option(
        "", help="The conversation of a keyed handler: NAME or FIELD=NAME; your login name if not given."
    ),
    field: str = typer.Option("", help="The field of the message that takes what you type."),
    timeout: float | None = typer.Option(None, min=0.001, help="Seconds until an answer is given up."),
    as_json: bool = typer.Option(False, "--json", help="Print every event as one line of JSON, errors included."),
) -> None:
    """Talk with an agent. Ctrl-C stops an answer, a second one or Ctrl-D leaves; reads lines from a pipe as well."""
    is_well = True
    try:
        with background(connected) as there:
            talk = there.start(_begin(there.held, address, field, session)).result()
            for line in _lines(quiet=as_json):
                output = JsonLines() if as_json else Terminal(talk.card)
                is_well = _answered(there, _Answer(talk, line, timeout), output) and is_well
    except AntiphonError as error:
        fail(error, as_json=as_json)
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if not is_well and not sys.stdin.isatty():
        raise typer.Exit(1)


class _Talk:
    """Whom one talks with, and how."""

    def __init__(self, client: Client, handler: Handler[Message, Message], card: HandlerCard, form: Form) -> None:
        self.client = client
        self.handler = handler
        self.card = card
        self.form = form


class _Answer:
    """One answer: durable work that goes on whether or not somebody listens."""

    def __init__(self, talk: _Talk, line: str, timeout_s: float | None) -> None:
        self._client = talk.client
        message = talk.handler.input.model_validate(talk.form.message(line))
        self._events: Following[Done[Message]] = talk.client.stream(talk.handler, message, timeout_s=timeout_s)

    @property
    def task(self) -> str:
        """The task's id."""
        return self._events.task

    async def show(self, output: Output) -> bool:
        """Show it all; whether there was an answer."""
        try:
            async for event in self._events:
                if isinstance(event, Done):
                    output.done(self.task, event.run, event.value.model_dump(mode="json"))
                else:
                    output.show(event, self._events.position.n)
        except AntiphonError as error:
            output.failed(self.task, error)
            return False
        return True

    async def cancel(self) -> None:
        """Stop the task; ``show`` ends with that."""
        await self._client.cancel(self.task)


async def _begin(client: Client, text: str, field: str, session: str) -> _Talk:
    address, card = await find_handler(client, text)
    form = form_of(address, card, field=field, session=session, default_session=_login())
    return _Talk(client, handler_of(address, card), card, form)


def _answered(there: Background[Client], answer: _Answer, output: Output) -> bool:
    """Wait for the answer. The first Ctrl-C cancels it; the second leaves it, and is raised."""
    shown = there.start(answer.show(output))
    try:
        return shown.result()
    except KeyboardInterrupt:
        cancelled = there.start(answer.cancel())
    try:
        _outcome(cancelled)
        return shown.result()
    except KeyboardInterrupt:
        shown.cancel()
        raise


def _outcome(cancelled: "Future[None]") -> None:
    try:
        cancelled.result()
    except AntiphonError as error:
        typer.echo(f"not cancelled: {error.message}", err=True)


def _lines(*, quiet: bool) -> Iterator[str]:
    """What is typed, or comes from a pipe, without empty lines."""
    is_person = sys.stdin.isatty()
    if is_person:
        import readline  # noqa: F401  # gives input() its line editor and history
    while True:
        try:
            line = input(PROMPT if is_person and not quiet else "")
        except EOFError:
            if is_person:
                typer.echo(err=True)  # the prompt's line is still open
            return
        if line.strip():
            yield line


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "me"
