"""The pages for the first evening: their code is that of tested files, and what they list is what there is."""

import re
from collections.abc import Callable
from pathlib import Path

from antiphon.runtime.models.discovery import endpoints
from antiphon.runtime.scaffold.project import PATHS

Page = Callable[[str], str]


def test_the_code_about_frameworks_stands_in_the_examples(page: Page, root: Path) -> None:
    """Block by block, in files that tests/acceptance/test_frameworks.py runs."""
    files = [path.read_text(encoding="utf-8") for path in (root / "examples" / "frameworks").glob("*.py")]
    blocks = re.findall(r"```python\n(.*?)```", page("docs/frameworks.md"), re.S)
    assert len(blocks) == 2
    for block in blocks:
        assert any(block in text for text in files), block


def test_every_place_that_is_looked_at_and_every_file_that_is_written_is_named(page: Page) -> None:
    """And no other provider."""
    text = page("docs/init.md")
    everywhere = endpoints({"OPENAI_API_KEY": "k", "OPENROUTER_API_KEY": "k"})
    assert re.findall(r"^\| `(\w+)/MODEL` \|", text, re.M) == [each.provider for each in everywhere]
    for place in everywhere[1:4]:
        assert place.base_url.removeprefix("http://").removesuffix("/v1") in text
    assert all(f"`{path}`" in text for path in PATHS)
