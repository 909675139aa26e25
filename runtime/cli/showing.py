"""A group of commands that shows, where none is named: ``antiphon trace RUN`` is ``antiphon trace show RUN``."""

from typing import Any

from typer.core import TyperGroup

DEFAULT = "show"


class ShowingGroup(TyperGroup):
    """Arguments that name no command are those of ``show``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # typer keeps the context's class to itself
        """With ``show`` put before them, except where help is asked for."""
        named = bool(args) and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if named else [DEFAULT, *args])
