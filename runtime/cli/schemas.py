"""``antiphon schemas``: every message type as JSON Schema."""

import json

import typer

from antiphon.runtime.cli.common import fail
from antiphon.runtime.errors import AntiphonError
from antiphon.runtime.loader import load_system
from antiphon.schemas.catalogue import Catalogue


def schemas(
    target: str = typer.Argument("", help="A system (newsroom.py:system) whose own messages to add."),
) -> None:
    """Print every message type as JSON Schema, keyed by Name@version."""
    try:
        found = Catalogue().json_schemas()
        if target:
            found.update(load_system(target).catalogue().json_schemas())
    except AntiphonError as error:
        fail(error)
    typer.echo(json.dumps(found, indent=2))
