"""The tests that the page about testing shows are run."""

import re
from collections.abc import Callable, Generator
from types import ModuleType
from typing import Any

import pytest
import structlog.testing

from antiphon.runtime import testing


@pytest.fixture(scope="module")
def shown(page: Callable[[str], str]) -> dict[str, Any]:
    """What the page's blocks define, one after the other in one module."""
    module = ModuleType("shown")
    for block in re.findall(r"^```python\n(.*?)^```", page("docs/testing.md"), re.S | re.M):
        exec(compile(block, "docs/testing.md", "exec"), module.__dict__)
    return module.__dict__


@pytest.fixture(autouse=True)
def quiet() -> Generator[None, None, None]:
    """No log lines."""
    with structlog.testing.capture_logs():
        yield


def test_every_test_on_the_page_passes(shown: dict[str, Any]) -> None:
    """Each as pytest would call it."""
    tests = [name for name in shown if name.startswith("test_")]
    assert len(tests) >= 8
    for name in tests:
        shown[name]()


def test_every_double_is_on_the_page(page: Callable[[str], str]) -> None:
    """What is exported for tests is explained."""
    text = page("docs/testing.md")
    assert [name for name in testing.__all__ if name not in text] == []
