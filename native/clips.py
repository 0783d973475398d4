"""Requests that ask for clips in a row: what trim, merge and render have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import model_validator

from native import errors
from native.media.edit import Edit, Mode, Output, Segment
from native.media.info import MediaInfo
from native.media.timecode import Time
from native.request import Request

MAX_CLIPS = 1000


@dataclass(frozen=True)
class Clip:
    """[start, end) of an asset. `place` is where the request names it, as in `sources.2.`; `named` is what the asset is called there."""

    asset: str
    start: Time | None
    end: Time | None
    place: str = ""
    named: str = "source"


class Clips(Request):
    """Subclasses say which `clips`."""

    mode: Mode = "exact"
    output: Output = Output()

    @abstractmethod
    def clips(self) -> Sequence[Clip]:
        """In the order they play."""

    def sources(self) -> Sequence[tuple[str, str]]:
        """Each asset once, in the order of its first use: many clips of one source open it once."""
        first: dict[str, str] = {}
        for clip in self.clips():
            first.setdefault(clip.asset, f"{clip.place}{clip.named}")
        return [(field, asset) for asset, field in first.items()]

    @model_validator(mode="after")
    def _ordered(self) -> Clips:
        """Nonsense is refused even where the source's length is not known."""
        for clip in self.clips():
            _segment(clip, 0)
        return self


def _segment(clip: Clip, source: int, media: Sequence[MediaInfo] | None = None) -> Segment:
    """A clip as a segment, held against its source's facts if they are given. Raises INVALID_RANGE with the clip's place."""
    try:
        segment = Segment(source=source, start=clip.start, end=clip.end)
        if media is not None:
            Edit(segments=(segment,)).check(media)
    except errors.Problem as problem:
        raise problem.kind(problem.detail, field=f"{clip.place}{problem.field}") from None
    return segment


def plan(request: Clips, media: Sequence[MediaInfo]) -> Edit:
    """The edit a request asks for. Raises INVALID_RANGE with the place of the first clip that its source does not have."""
    number = {asset: n for n, (_, asset) in enumerate(request.sources())}
    segments = tuple(_segment(clip, number[clip.asset], media) for clip in request.clips())
    return Edit(segments=segments, mode=request.mode, output=request.output)
