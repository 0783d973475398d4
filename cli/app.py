"""The list of commands. Each is a module of its own, and imports what it needs when it is called: `nve --help` is quick."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from cli.commands import bench, demo, edit, inspect, jobs, keys, stack, test

EPILOG = """A source is a file or an asset's id; a time is 83.5, 1:23.5, 00:01:23.500 or 2505f (frames). The server is found by NVE_URL and
NVE_KEY, or in the data directory. Every command ends with 0 only when what was asked succeeded; else with 1 (it failed), 2 (it was asked
wrongly), 3 (no server can be reached) or 130 (Ctrl-C)."""


class Sections(TyperGroup):
    """The commands under headings. Typer's own way to do so draws boxes, and takes as long again as all the rest of a start."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                about = command.get_short_help_str(limit=formatter.width - 16)
                sections.setdefault(getattr(command, "rich_help_panel", None) or "Commands", []).append((name, about))
        for heading, rows in sections.items():
            with formatter.section(heading):
                formatter.write_dl(rows, col_spacing=4)


app = typer.Typer(
    name="nve",
    cls=Sections,
    help="A video editor of your own: exact cuts at copy speed.",
    epilog=EPILOG,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for room in (demo, edit, inspect, jobs, stack, keys, test, bench):
    room.add(app)
