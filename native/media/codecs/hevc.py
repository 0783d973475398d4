"""HEVC: packets copied between clean starts."""

from __future__ import annotations

from collections.abc import Sequence

from native.media.codecs import base
from native.media.pieces import Part
from native.media.splice import Source


class Hevc(base.KeyFrames):
    def refusal(self, sources: Sequence[Source], container: str) -> str | None:
        if any(source.track.extradata[:1] != b"\1" for source in sources if source.track is not None):
            return "the source keeps its HEVC parameter sets in the stream only"
        return super().refusal(sources, container)

    def stitch(self, parts: Sequence[Part], sources: Sequence[Source], container: str) -> base.Stitch:
        made = super().stitch(parts, sources, container)
        track = sources[parts[0].source].track
        if container in ("mp4", "mov") and track is not None:
            # hvc1 is what Apple plays; its parameter sets are in the record, which the source must have
            made.tag = "hev1" if track.stream.tag in ("hev1", "dvhe") else "hvc1"
        return made
