"""An answer in the terminal and as lines."""

import json

import pytest

from antiphon.runtime.cli.chat_output import JsonLines, Terminal
from antiphon.runtime.cli.screen import printable
from antiphon.runtime.errors import TaskDead
from antiphon.schemas.node import HandlerCard, TypeCard
from antiphon.schemas.task import Gap, Progress, Restarted, Token

TEXT = TypeCard(name="Reply", version=1, json_schema={"properties": {"text": {"type": "string"}}})
CARD = HandlerCard(name="say", description="", input=TEXT, output=TEXT)


def test_what_was_shown_word_by_word_is_not_said_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """A reply that differs, or was not shown, is printed whole."""
    shown, silent, other = Terminal(CARD), Terminal(CARD), Terminal(CARD)
    shown.show(Token(text="Good "), 1)
    shown.show(Token(text="day"), 2)
    shown.done("t", "r", {"text": "Good day"})
    silent.done("t", "r", {"text": "Hello"})
    other.show(Token(text="thinking"), 1)
    other.done("t", "r", {"text": "Done."})
    Terminal(CARD).done("t", "r", {"n": 1})
    assert capsys.readouterr().out == 'Good day\nHello\nthinking\nDone.\n{"n": 1}\n'


def test_notes_go_to_standard_error_and_void_what_was_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Restarts, gaps and progress; the words of the attempt that died do not count."""
    terminal = Terminal(CARD)
    terminal.show(Token(text="Kept. "), 1)
    terminal.show(Token(text="Lost"), 2)
    terminal.show(Restarted(attempt=2, n=1), 1)
    terminal.show(Progress(value={"step": 1}), 2)
    terminal.show(Token(text="New."), 3)
    terminal.show(Gap(n=3, missed=2), 5)
    terminal.done("t", "r", {"text": "Kept. New."})
    terminal.failed("t", TaskDead("every attempt failed"))
    said = capsys.readouterr()
    assert said.out == "Kept. Lost\nNew.\n"
    assert [line.split(":")[0] for line in said.err.splitlines()] == [
        "· the worker died or failed",
        '· {"step"',
        "· 2 items were missed",
        "TaskDead",
    ]


def test_lines_of_json_have_everything(capsys: pytest.CaptureFixture[str]) -> None:
    """Each is an object with its kind."""
    lines = JsonLines()
    lines.show(Token(text="hi"), 1)
    lines.done("t", "r", {"text": "hi"})
    lines.failed("t", TaskDead("no"))
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found[:2] == [
        {"kind": "token", "text": "hi"},
        {"kind": "done", "task": "t", "run": "r", "value": {"text": "hi"}},
    ]
    assert (found[2]["kind"], found[2]["error"]["type"]) == ("error", "TaskDead")


def test_a_model_cannot_move_the_cursor() -> None:
    """Control characters are left out of what a terminal gets; lines and tabs stay."""
    assert printable("a\x1b[2Jb\r\x07\n\tß漢\u009b") == "a[2Jb\n\tß漢"
