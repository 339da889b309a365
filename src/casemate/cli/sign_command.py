"""``casemate sign`` as a command: a plugin's options go to the plugin, and the help has sections."""

from __future__ import annotations

from typing import Final

import click

from casemate.cli.sign_manifest import ManifestForm

#: What the sections of ``--help`` are called -> the names of their options.
_SECTIONS: Final = {
    "Key": ("key_uri", "passphrase_fd", "passphrase_env", "provenance_uri"),
    "Two phases": ("prepare", "attach", "request", "public_key"),
    "Policy": ("expected_mrenclave", "after", "accepted", "allow_debug"),
    "In place of gramine-sgx-sign": (*ManifestForm.__dataclass_fields__, "passphrase"),
}
_OTHERS: Final = "Options"
_SECTION_OF: Final = {name: title for title, names in _SECTIONS.items() for name in names}


class SignCommand(click.Command):
    """A command that hands the options of a plugin, which it does not know, to the plugin of ``--with``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Without ``--with``, what is not known is wrong; with it, it is in ``ctx.args`` afterwards."""
        if any(arg == "--with" or arg.startswith("--with=") for arg in args):
            ctx.ignore_unknown_options = ctx.allow_extra_args = True
            ctx.params["bundle"] = None
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options, in sections by what they are for."""
        sections: dict[str, list[tuple[str, str]]] = {title: [] for title in (*_SECTIONS, _OTHERS)}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                sections[_SECTION_OF.get(param.name or "", _OTHERS)].append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The options; with a plugin there is no bundle whose name one of its arguments could be."""
        params = super().get_params(ctx)
        if "bundle" in ctx.params and ctx.allow_extra_args:
            return [param for param in params if param.name != "bundle"]
        return params
