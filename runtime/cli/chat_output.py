"""How an answer is shown as it comes: to a person in the terminal, or to a program as lines of JSON."""

import json
from collections.abc import Mapping
from typing import Any, Protocol

import typer
from rich.text import Text

from antiphon.runtime.cli.chat_form import answer_of
from antiphon.runtime.cli.screen import Console, printable
from antiphon.runtime.delivery.ordering import Shown
from antiphon.runtime.errors import AntiphonError
from antiphon.schemas.node import HandlerCard
from antiphon.schemas.task import Gap, Progress, Restarted, Token


class Output(Protocol):
    """Where one answer goes."""

    def show(self, event: Shown, n: int) -> None:
        """What the handler emitted; ``n`` items have been shown with this one."""
        ...

    def done(self, task: str, run: str, reply: Mapping[str, Any]) -> None:
        """The typed result."""
        ...

    def failed(self, task: str, error: AntiphonError) -> None:
        """There is no answer, and why."""
        ...


class JsonLines:
    """One object a line: ``kind`` is token, progress, restarted, gap, done or error."""

    def show(self, event: Shown, n: int) -> None:
        """See Output."""
        typer.echo(event.model_dump_json())

    def done(self, task: str, run: str, reply: Mapping[str, Any]) -> None:
        """See Output."""
        typer.echo(json.dumps({"kind": "done", "task": task, "run": run, "value": reply}, ensure_ascii=False))

    def failed(self, task: str, error: AntiphonError) -> None:
        """See Output."""
        typer.echo(json.dumps({"kind": "error", "task": task, "error": error.info().model_dump()}, ensure_ascii=False))


class Terminal:
    """Words on standard output, everything else on standard error. One for each answer."""

    def __init__(self, card: HandlerCard) -> None:
        self._card = card
        self._notes = Console(stderr=True, highlight=False)
        self._tokens: list[tuple[int, str]] = []
        self._is_within_line = False

    def show(self, event: Shown, n: int) -> None:
        """See Output."""
        match event:
            case Token():
                self._tokens.append((n, event.text))
                typer.echo(printable(event.text), nl=False)
                self._is_within_line = not event.text.endswith("\n")
            case Progress():
                self._note(json.dumps(event.value, ensure_ascii=False))
            case Restarted():
                self._tokens = [(at, text) for at, text in self._tokens if at <= event.n]
                self._note(f"the worker died or failed: attempt {event.attempt} begins; what it had said is void")
            case Gap():
                self._note(f"{event.missed} items were missed")

    def done(self, task: str, run: str, reply: Mapping[str, Any]) -> None:
        """See Output. What was shown word by word is not said twice."""
        answer = answer_of(self._card, reply)
        said = "".join(text for _, text in self._tokens)
        self._end_line()
        if answer is None:
            typer.echo(json.dumps(reply, ensure_ascii=False))
        elif answer.strip() != said.strip():
            typer.echo(printable(answer))

    def failed(self, task: str, error: AntiphonError) -> None:
        """See Output."""
        self._end_line()
        self._notes.print(Text(f"{type(error).__name__}: ", "bold red") + Text(printable(error.message), "red"))

    def _note(self, text: str) -> None:
        self._end_line()
        self._notes.print(Text(f"· {printable(text)}", "dim"))

    def _end_line(self) -> None:
        if self._is_within_line:
            typer.echo()
            self._is_within_line = False
