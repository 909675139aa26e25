"""``antiphon password``: what stands in the settings for a person who may sign in to the console."""

import sys

import typer

from antiphon.runtime.cli.common import fail
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.passwords import LONGEST, SHORTEST, kept


def password() -> None:
    """Ask for a password, and print what to write for it under [console_passwords] in the settings.

    From a pipe the first line is taken. The password itself is kept nowhere.
    """
    if sys.stdin.isatty():
        given = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        given = sys.stdin.readline().rstrip("\r\n")
    if not SHORTEST <= len(given) <= LONGEST:
        fail(ConfigurationError(f"the password has {len(given)} characters, expected {SHORTEST} to {LONGEST:,}"))
    typer.echo(kept(given))
