"""render: an edit, as the editor's timeline has it: clips of sources in the order they play."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from native.clips import MAX_CLIPS, Clip, Clips, plan
from native.operation import Operation, serve
from native.request import AssetId, Request, Time


class Piece(Request):
    source: AssetId
    start: Time | None = None
    end: Time | None = None


class Track(Request):
    clips: Annotated[list[Piece], Field(min_length=1, max_length=MAX_CLIPS)]


class Timeline(Request):
    """One track of pictures, each with its own sound."""

    tracks: Annotated[list[Track], Field(min_length=1, max_length=1)]


class Render(Clips):
    edit: Timeline

    def clips(self) -> Sequence[Clip]:
        pieces = self.edit.tracks[0].clips
        return [Clip(piece.source, piece.start, piece.end, f"edit.tracks.0.clips.{n}.") for n, piece in enumerate(pieces)]


handle = serve(Operation(name="render", request=Render, plan=plan))
