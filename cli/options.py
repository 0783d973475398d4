"""What every command understands, and how its words are read."""

from __future__ import annotations

import enum
import os
import re
import uuid
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.failure import Usage
from native import names

# The repository; the data directory is beside the script that people call.
ROOT = Path(__file__).resolve().parents[1]
DEFAULT_DATA = ROOT / ".nve"

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")]
Data = Annotated[
    Path,
    typer.Option(
        "--data", metavar="DIR", envvar="NVE_DATA", show_default=".nve beside the script", help="The local server's data directory."
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="OUT",
        help="Where to save the result (.mp4 .mov .mkv .webm .ts, or a folder). A file that is there is replaced, "
        "when the result is complete and checked, not before. Without it the result stays in the store.",
    ),
]


class Mode(enum.StrEnum):
    EXACT = "exact"
    INSTANT = "instant"
    KEYFRAME = "keyframe"
    ENCODE = "encode"


Modes = Annotated[
    Mode,
    typer.Option(
        "--mode",
        help="exact: to the frame, encoding only what must be. instant: nothing is encoded, players hide the lead-in. "
        "keyframe: nothing is encoded, the cut moves to a key frame. encode: everything is encoded.",
    ),
]


class Codec(enum.StrEnum):
    H264 = "h264"
    HEVC = "hevc"
    VP9 = "vp9"
    AV1 = "av1"


Size = Annotated[
    str | None,
    typer.Option(
        "--size", metavar="WxH", help="The picture's size: 1280x720, or 1280x or x720 to keep its shape.", show_default="as most of it is"
    ),
]
Rate = Annotated[
    str | None, typer.Option("--rate", metavar="N", help="Frames per second: 25, 29.97 or 30000/1001.", show_default="as most of it is")
]
Codecs = Annotated[Codec | None, typer.Option("--codec", help="What the picture is coded in.", show_default="as most of it is")]

CONTAINERS = {".m4v": "mp4", **{f".{container}": container for container in names.CONTENT_TYPES}}


def moment(text: str, option: str) -> str:
    """A time as the server reads it. Raises Usage for what is none: `83.5`, `1:23.5`, `00:01:23.500`, `2505f`."""
    from native import errors
    from native.media import timecode

    try:
        return str(timecode.parse(text))
    except errors.Problem as problem:
        raise Usage(f"{option} {text!r}: {problem.detail}", code=problem.code, field=option.lstrip("-")) from None


def span(start: str, end: str) -> tuple[str, str]:
    """A range of time. Raises Usage where its end is not after its start and both are of one kind."""
    from native.media import timecode

    first, last = moment(start, "--start"), moment(end, "--end")
    a, b = timecode.parse(first), timecode.parse(last)
    before = (a.value < b.value) if isinstance(a, timecode.Seconds) and isinstance(b, timecode.Seconds) else None
    if isinstance(a, timecode.Frames) and isinstance(b, timecode.Frames):
        before = a.count < b.count
    if before is False:
        raise Usage(f"--end {end} must be after --start {start}.", code="invalid_range", field="end")
    return first, last


def source(text: str, beside: Path | None = None) -> Path | str:
    """SRC: a file that is there (relative to `beside`), or an asset's id. Raises Usage."""
    path = (beside or Path()) / Path(text).expanduser()
    if path.is_file():
        return path
    if path.exists():
        raise Usage(f"{text} is not a file.", field="source")
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise Usage(f"{text}: there is no such file, and it is not an asset's id.", field="source") from None


def picture(size: str | None, rate: str | None, codec: Codec | None) -> dict[str, Any]:
    """The members of `output` that shape the picture. Raises Usage for a size that is none; the server judges the rest."""
    wanted: dict[str, Any] = {"frame_rate": rate, "codec": codec.value if codec else None}
    if size is not None:
        found = re.fullmatch(r"(\d{1,5})?x(\d{1,5})?", size.strip().lower(), re.ASCII)
        if found is None or not any(found.groups()):
            raise Usage(f"--size {size!r}: a size is like 1280x720, 1280x or x720.", field="size")
        wanted |= {name: int(side) if side else None for name, side in zip(("width", "height"), found.groups(), strict=True)}
    return {name: value for name, value in wanted.items() if value is not None}


def output(out: Path | None, sources: list[Path | str]) -> dict[str, Any]:
    """The `output` of a request: what OUT's name says. Raises Usage before anything is uploaded for nothing."""
    if out is None or out.is_dir():
        if out is not None and not os.access(out, os.W_OK):
            raise Usage(f"Nothing can be written to {out}.", field="output")
        return {}
    container = CONTAINERS.get(out.suffix.lower())
    if container is None:
        raise Usage(f"{out} must end in .mp4, .mov, .mkv, .webm or .ts.", field="output")
    if not out.parent.is_dir():
        raise Usage(f"There is no folder {out.parent}.", field="output")
    if not os.access(out.parent, os.W_OK):
        raise Usage(f"Nothing can be written to {out.parent}.", field="output")
    for each in sources:
        if isinstance(each, Path) and out.exists() and out.samefile(each):
            raise Usage(f"{out} is the source itself: choose another name.", field="output")
    # The server's names are plain; ours is the one the file gets here.
    name = re.sub(r"[\x00-\x1f\x7f/\\<>:\"|?*]", "_", out.stem).strip(" .")[:120]
    return {"container": container} | ({"name": f"{name}.{container}"} if name else {})
