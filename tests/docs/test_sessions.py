"""The page about sessions shows code that runs."""

import re
from collections.abc import Callable
from dataclasses import fields

from antiphon import Window


def test_the_example_is_that_of_the_program(page: Callable[[str], str]) -> None:
    """Word for word, and the program is as short as it is said to be."""
    program = page("examples/chat.py")
    first = re.findall(r"^```python\n(.*?)^```", page("docs/sessions.md"), re.S | re.M)[0]
    assert first in program
    assert len(program.splitlines()) <= 40


def test_every_field_of_a_window_has_a_row(page: Callable[[str], str]) -> None:
    """With its default, and no row for one that has gone."""
    section = page("docs/sessions.md").partition("## Windows\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", section, re.M))
    assert set(rows) == {field.name for field in fields(Window)}
    assert rows["tokens"] == f"{Window().tokens:,}"
