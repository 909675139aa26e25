"""The example and the page: what they show works, and is one text."""

import re
from pathlib import Path
from typing import Any

import pytest

from antiphon.runtime.loader import load_system
from antiphon.runtime.testing import memory_system

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples" / "knowledge.py"


def test_the_page_has_the_example() -> None:
    """Character by character."""
    page = (ROOT / "docs" / "knowledge.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- begin examples/knowledge.py -->\n```python\n(.*?)```\n<!-- end", page, re.S)
    assert found is not None
    assert found[1] == EXAMPLE.read_text(encoding="utf-8")
    assert len(found[1].splitlines()) <= 40


async def test_the_desk_answers_from_the_handbook(models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was taken in is what it has read."""
    monkeypatch.setenv("ANTIPHON_HOME", str(tmp_path))
    system = load_system(f"{EXAMPLE}:system")
    desk, handbook = (agent.handlers for agent in system.agents)
    (tmp_path / "guide.md").write_text("# Guide\n\nThe sea is blue.\n")
    async with memory_system(system, models=models) as client:
        ingest = handbook["ingest"]
        await (await client.submit(ingest, ingest.input(paths=(str(tmp_path / "guide.md"),)))).result(timeout_s=60)
        task = await client.submit(desk["help"], desk["help"].input(text="Is the sea blue?"))
        advice = await task.result(timeout_s=60)
    assert advice.text == "Question: Is the sea blue?"
    assert advice.read == [f"{tmp_path / 'guide.md'}:3"]
