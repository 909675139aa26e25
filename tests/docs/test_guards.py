"""The page about guards shows what the example has, and all that there is."""

import re
from collections.abc import Callable
from pathlib import Path

from antiphon.runtime import guards
from antiphon.runtime.guards import Stage
from antiphon.runtime.guards.personal import KINDS

Page = Callable[[str], str]


def test_every_block_is_part_of_the_example(page: Page, root: Path) -> None:
    """The example is run by a test."""
    blocks = re.findall(r"^```python\n(.*?)^```", page("docs/guards.md"), re.S | re.M)
    example = (root / "examples" / "guards.py").read_text(encoding="utf-8")
    assert len(blocks) == 3
    assert [block for block in blocks if block not in example] == []


def test_every_stage_guard_and_mark_is_described(page: Page) -> None:
    """Tables and lists are whole."""
    text = page("docs/guards.md")
    assert [stage for stage in Stage if f"| `{stage}` |" not in text] == []
    assert [name for name in guards.__all__ if name[0].islower() and f"| `{name}(" not in text] == []
    assert [kind.name for kind in KINDS if f"`[{kind.name}]`" not in text] == []
