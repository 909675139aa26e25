"""Sizes by name, from whatever other machines send."""

from typing import Any

import pytest

from antiphon.agents.logging_agent.sized import sizes
from antiphon.runtime.whatif.testing import Traced


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (["a:1", "b:c:20"], {"a": 1, "b:c": 20}),
        ([], {}),
        (None, {}),
        ("a:1", {}),
        (["a:1", "b"], {}),
        (["a:-1"], {}),
        (["a:1.5"], {}),
        ([":1"], {}),
        (["a:²"], {}),
        (["a:" + "9" * 13], {}),
        ([f"a{i}:1" for i in range(257)], {}),
    ],
)
def test_sizes_are_read_or_absent(value: Any, found: dict[str, int]) -> None:
    """Part of a list would be a wrong total: one bad item voids all."""
    span = Traced(1).add(None, "chat", 0, 1, sizes=value)
    assert sizes(span, "sizes") == found
