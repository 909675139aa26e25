"""The console's token: made once, private, and never empty."""

import stat
from pathlib import Path

import pytest

from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.observatory import console_token


def test_the_token_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    """A page stays open over restarts; others on the machine cannot read it."""
    home = tmp_path / "not" / "there"
    token = console_token(home)
    assert len(token) >= 32
    assert console_token(home) == token
    assert stat.S_IMODE((home / "console.token").stat().st_mode) == 0o600


def test_a_damaged_token_is_not_used(tmp_path: Path) -> None:
    """An empty token would open the console to everybody."""
    (tmp_path / "console.token").write_text("\n")
    with pytest.raises(ConfigurationError, match="holds no token: delete it"):
        console_token(tmp_path)


def test_a_home_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """With the path."""
    (tmp_path / "home").write_text("a file")
    with pytest.raises(ConfigurationError, match=r"cannot keep the console's token in .*home"):
        console_token(tmp_path / "home")
