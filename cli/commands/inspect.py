"""nve inspect: what is in a file."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.options import DEFAULT_DATA, AsJson, Data
from cli.screen import Screen


def add(app: typer.Typer) -> None:
    app.command(rich_help_panel="Edit")(inspect)


def inspect(
    src: Annotated[str, typer.Argument(metavar="SRC", help="A file, or the id of an asset.")],
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Show a source's streams, duration, key frames and flaws.

    Example: nve inspect holiday.mp4
    """
    from cli import options, server, work

    screen, given = Screen(as_json), options.source(src)
    with server.connected(screen, data, start=True) as client:
        asset = work.uploaded(screen, client, data, [given])[0]
        document = client.inspect(asset)
    screen.result(document, lambda: _tell(screen, document))


def _tell(screen: Screen, document: dict[str, Any]) -> None:
    from cli import figures

    print(f"{document['name']}  {document['container']}, {figures.clock(document['duration'])}, {figures.size(document['size'])}")
    print(f"asset {document['asset']}")
    rows = [[str(it["index"]), it["kind"], it["codec"], _about(it), it.get("language") or ""] for it in document["streams"]]
    screen.table(["#", "kind", "codec", "", "language"], rows, right=[0])
    keyframes = document.get("keyframes") or []
    if keyframes:
        shown = ", ".join(figures.clock(each) for each in keyframes[:6]) + (" …" if len(keyframes) > 6 else "")
        print(f"{len(keyframes)} key frame{'s' if len(keyframes) > 1 else ''}: {shown}")
    for warning in document.get("warnings") or []:
        print(f"note: {warning}")


def _about(it: dict[str, Any]) -> str:
    if it["kind"] == "video":
        rate = it.get("frame_rate")
        upper, _, lower = (rate or "").partition("/")
        shown = f"{int(upper) / int(lower or 1):.5g} fps" if upper else None
        rotated = f"rotated {it['rotation']}°" if it.get("rotation") else None
        frames = f"{it['frames']} frames" if it.get("frames") else None
        facts = [f"{it.get('width')}×{it.get('height')}", shown, frames, it.get("profile"), it.get("pixel_format"), rotated]
    else:
        facts = [f"{it['sample_rate']} Hz" if it.get("sample_rate") else None, it.get("layout"), it.get("title")]
    return ", ".join(fact for fact in facts if fact)
