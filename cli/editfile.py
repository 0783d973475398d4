"""EDIT.json: clips in the order they play, in the short form or in the HTTP API's own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from cli import options
from cli.failure import Usage

EXAMPLE = '{"clips": [{"source": "a.mp4", "start": "1:23.5", "end": "2505f"}]}'


class EditFile:
    """An edit whose sources are still files. `sources` are in the order of the clips."""

    def __init__(self, name: str) -> None:
        document = _read(name)
        self._document = document
        self._clips = _clips(document)
        beside = Path() if name == "-" else Path(name).parent
        self.sources = [options.source(_source(clip, number), beside) for number, clip in enumerate(self._clips)]
        for number, clip in enumerate(self._clips):
            for end in ("start", "end"):
                if clip.get(end) is not None:
                    clip[end] = options.moment(str(clip[end]), f"clips.{number}.{end}")

    def request(self, assets: Any) -> dict[str, Any]:
        """The body of the HTTP request, with the assets in the place of the files."""
        clips = [{**clip, "source": asset} for clip, asset in zip(self._clips, assets, strict=True)]
        rest = {name: value for name, value in self._document.items() if name not in ("edit", "clips")}
        return {**rest, "edit": {"tracks": [{"clips": clips}]}}


def _read(name: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except OSError as exc:
        raise Usage(f"{name} cannot be read: {exc.strerror}.") from None
    except UnicodeDecodeError:
        raise Usage(f"{name} is not a text in UTF-8.") from None
    try:
        # Decimals stay as they are written: 10.1 is exactly 10.1.
        document = json.loads(text, parse_float=str)
    except (ValueError, RecursionError) as exc:
        where = f" (line {exc.lineno}, column {exc.colno}: {exc.msg})" if isinstance(exc, json.JSONDecodeError) else ""
        raise Usage(f"{name} is not valid JSON{where}.") from None
    if not isinstance(document, dict):
        raise Usage(f"{name} must hold an object, such as {EXAMPLE}.")
    return document


def _clips(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The clips, wherever the document has them: `clips`, `edit.clips` or `edit.tracks[0].clips`."""
    edit = document.get("edit", document)
    tracks = edit.get("tracks") if isinstance(edit, dict) else None
    if isinstance(tracks, list) and len(tracks) > 1:
        raise Usage("edit.tracks: one track is supported.", field="edit.tracks")
    holder = tracks[0] if isinstance(tracks, list) and tracks else edit
    clips = holder.get("clips") if isinstance(holder, dict) else None
    if not isinstance(clips, list) or not clips or not all(isinstance(clip, dict) for clip in clips):
        raise Usage(f"The edit needs a list of clips, such as {EXAMPLE}.", field="clips")
    return [dict(clip) for clip in clips]


def _source(clip: dict[str, Any], number: int) -> str:
    if not isinstance(clip.get("source"), str) or not clip["source"]:
        raise Usage(f"clips.{number}.source: the name of a file or an asset's id is needed.", field=f"clips.{number}.source")
    return clip["source"]
