"""What each profile asks of the servers."""

import pytest

from antiphon.runtime.bus.api import ApiError
from antiphon.runtime.bus.durability import Durability, copies, too_few_servers
from antiphon.runtime.errors import ConfigurationError


@pytest.mark.parametrize(
    ("durability", "servers", "expected"),
    [
        ("fast", 1, 1),
        ("strict", 1, 1),
        ("fast", 3, 3),
        ("safe", 3, 3),
        ("strict", 5, 3),
        ("fast", None, 1),
        ("safe", None, 3),
        ("strict", None, 3),
    ],
)
def test_copies(durability: Durability, servers: int | None, expected: int) -> None:
    """An embedded cluster keeps three copies; elsewhere the profile decides."""
    assert copies(durability, servers) == expected


def test_safe_needs_three_servers() -> None:
    """One embedded server cannot keep what it loses with its disk; the error says what to do."""
    with pytest.raises(ConfigurationError, match=r"found 1.*antiphon up --servers 3"):
        copies("safe", 1)


@pytest.mark.parametrize("number", [10005, 10074])
def test_a_server_without_peers(number: int) -> None:
    """The refusals that mean too few servers become an error of configuration, where copies were asked for."""
    refusal = ApiError(number, "no suitable peers for placement")
    error = too_few_servers("ANTIPHON_TASKS", 3, refusal)
    assert error is not None and "cluster of 3 servers" in error.message
    assert too_few_servers("ANTIPHON_TASKS", 1, refusal) is None
    assert too_few_servers("ANTIPHON_TASKS", 3, ApiError(10047, "no room")) is None
