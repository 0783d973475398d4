"""nve demo: the whole way, on real clips, with what it cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import DEFAULT_DATA, AsJson, Data
from cli.screen import Screen


def add(app: typer.Typer) -> None:
    app.command(rich_help_panel="Prove")(demo)


def demo(
    files: Annotated[list[Path] | None, typer.Argument(metavar="[FILE…]", help="Clips of yours, instead of the two that are made.")] = None,
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Go the whole way on two clips, and check the film frame by frame.

    They are uploaded, trimmed and merged by the functions; the film is downloaded and compared with the clips.
    What it started is stopped again. Ends with 1 when the film is not exactly what it should be.

    Example: nve demo a.mp4 b.mov
    """
    from cli.demo import show

    show.run(Screen(as_json), data, files or [])
