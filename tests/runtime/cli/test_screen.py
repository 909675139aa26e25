"""What strangers wrote is shown as text, and obeyed nowhere."""

import io
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from antiphon.runtime.cli.screen import Console, printable

EVIL = "\x1b[2J\x1b]0;owned\x07\u202eevil\x00\x9b1m\r"


def test_letters_of_every_alphabet_stay() -> None:
    """Only what would move the cursor, colour the screen or turn the writing goes."""
    assert printable(f"a{EVIL}b\n\tß漢\u00a0👩\u200d💻") == "a[2J]0;ownedevil1mb\n\tß漢\u00a0👩\u200d💻"


@pytest.mark.parametrize("terminal", [True, False])
def test_no_order_in_a_text_reaches_the_terminal(terminal: bool) -> None:
    """In any part of what is drawn; Rich's own colours do, and columns stay straight."""
    table = Table(f"head{EVIL}")
    table.add_row(Text(f"cell{EVIL}", "red"))
    table.add_row("12345678901234567890")
    shown = io.StringIO()
    Console(file=shown, force_terminal=terminal, color_system="standard" if terminal else None, width=40).print(table)
    text = shown.getvalue()
    assert "head[2J]0;ownedevil1m" in text and "cell[2J]0;ownedevil1m" in text
    assert not set("\x07\u202e\x00\x9b\r") & set(text) and "\x1b[2J" not in text and "\x1b]" not in text
    assert ("\x1b[31m" in text) is terminal
    if not terminal:
        assert len({len(line) for line in text.splitlines()}) == 1


def test_every_command_draws_by_it() -> None:
    """Nobody takes Rich's own."""
    folder = Path(__file__).parents[3] / "runtime" / "cli"
    using = [file.name for file in folder.glob("*.py") if "from rich.console import Console" in file.read_text("utf-8")]
    assert using == ["screen.py"]
