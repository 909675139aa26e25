"""URLs as they may be shown."""

import pytest

from antiphon.runtime.urls import without_secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("https://ada:pass@word@host:1/v1?user=a@b", "https://host:1/v1?user=a@b"),
        ("https://host/@scope/v1", "https://host/@scope/v1"),
        ("nats://token@[::1]:4222", "nats://[::1]:4222"),
        ("nothing", "nothing"),
    ],
)
def test_user_and_password_go_and_nothing_else(url: str, shown: str) -> None:
    """Only what stands before the host, whatever signs are in it."""
    assert without_secrets(url) == shown
