"""nve trim, merge, render: media in, media out."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import DEFAULT_DATA, AsJson, Codecs, Data, Mode, Modes, Out, Rate, Size
from cli.screen import Screen

PANEL = "Edit"

Source = Annotated[str, typer.Argument(metavar="SRC", help="A file, or the id of an asset.")]


def add(app: typer.Typer) -> None:
    for command in (trim, merge, render):
        app.command(rich_help_panel=PANEL)(command)


def trim(  # noqa: PLR0917 (typer gives them by name)
    src: Source,
    start: Annotated[str, typer.Option("--start", metavar="T", help="The first moment that stays: 83.5, 1:23.5, 00:01:23.500 or 2505f.")],
    end: Annotated[str, typer.Option("--end", metavar="T", help="The first moment that does not.")],
    out: Out = None,
    mode: Modes = Mode.EXACT,
    size: Size = None,
    rate: Rate = None,
    codec: Codecs = None,
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Cut one range out of a source, to the frame.

    A frame stays if START ≤ its time < END. All that can be is copied bit for bit.

    Example: nve trim holiday.mp4 --start 1:23.5 --end 2505f -o beach.mp4
    """
    from cli import options, work

    first, last = options.span(start, end)
    given = options.source(src)
    body = {"start": first, "end": last, "mode": mode.value, "output": options.picture(size, rate, codec)}
    work.run(Screen(as_json), data, "trim", [given], build=lambda assets: {"source": assets[0], **body}, out=out)


def merge(  # noqa: PLR0917 (typer gives them by name)
    src: Annotated[list[str], typer.Argument(metavar="SRC SRC…", help="Files, or ids of assets, in the order they play.")],
    out: Out = None,
    mode: Modes = Mode.EXACT,
    size: Size = None,
    rate: Rate = None,
    codec: Codecs = None,
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Join whole sources, one after another.

    What agrees with most of it is copied; only the odd ones are made to fit.

    Example: nve merge intro.mp4 talk.mov end.mp4 -o film.mp4

    Example: nve merge phone.mov camera.mp4 --size 1280x720 --rate 30 -o film.mp4
    """
    from cli import options, work

    given = [options.source(each) for each in src]
    body = {"mode": mode.value, "output": options.picture(size, rate, codec)}
    work.run(Screen(as_json), data, "merge", given, build=lambda assets: {"sources": list(assets), **body}, out=out)


def render(
    edit: Annotated[str, typer.Argument(metavar="EDIT.json", help="The edit; - reads it from stdin. Its files are looked for beside it.")],
    out: Out = None,
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Make a film of ranges of several sources.

    EDIT.json is {"clips": [{"source": "a.mp4", "start": "1:23.5", "end": "2505f"}, …]}; a clip without start or end is the whole rest.
    The body of POST /function/render is understood as well.

    Example: nve render film.json -o film.mp4
    """
    from cli import work
    from cli.editfile import EditFile

    given = EditFile(edit)
    work.run(Screen(as_json), data, "render", given.sources, build=given.request, out=out)
