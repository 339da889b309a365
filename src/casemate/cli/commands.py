"""A group of commands that tells the nearest one where there is none of a name."""

from __future__ import annotations

import click


class SuggestingGroup(click.Group):
    """A group in which a mistyped command is answered with the one that was probably meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that ``args`` begin with; of one that does not exist, the nearest is told."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            near = get_close_matches(args[0], self.list_commands(ctx), n=1)
            if not near:
                raise
            message = f"No such command '{args[0]}'. Did you mean '{near[0]}'?"
            raise click.UsageError(message, ctx) from error
