"""The page about tools shows the file that the acceptance test runs."""

import re
from collections.abc import Callable

from antiphon.runtime.tool_loop import MAX_RESULT


def test_the_example_is_the_file(page: Callable[[str], str]) -> None:
    """Character by character, and short enough to read at a glance."""
    example = "examples/assistant.py"
    found = re.search(
        rf"<!-- begin {example} -->\n```python\n(.*?)```\n<!-- end {example} -->", page("docs/tools.md"), re.S
    )
    assert found is not None
    assert found[1] == page(example), f"copy {example} into docs/tools.md between its markers"
    assert len(found[1].splitlines()) <= 40


def test_the_numbers_are_the_codes(page: Callable[[str], str]) -> None:
    """What the page says of a limit is the limit."""
    assert f"{MAX_RESULT:,} characters" in page("docs/tools.md").replace("\n", " ")
