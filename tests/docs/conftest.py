"""The repository as the documents see it."""

from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def page() -> Callable[[str], str]:
    """The text of a document, by its path from the root."""
    return lambda path: (ROOT / path).read_text(encoding="utf-8")
