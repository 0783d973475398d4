"""Copied runs of packets."""

from __future__ import annotations

from collections.abc import Iterator

from native.media import nal, packets, splice
from native.media.encode import Coded
from native.media.plan import Copy, NotCopyable, Source


def run(source: Source, piece: Copy) -> Iterator[Coded]:
    """A copied run. H.264 is looked at while it passes: damaged packets and parameter sets that change on the way end the copy."""
    track = source.track
    assert track is not None
    if track.stream.codec != "h264":
        for sample in packets.read(source.index, track, piece.first, piece.last):
            yield Coded(sample.data, sample.pts, sample.key)
        return
    config = nal.config(track.extradata)
    assert config is not None
    known, width = {*config.sps, *config.pps}, config.width
    for sample in packets.read(source.index, track, piece.first, piece.last):
        data = sample.data
        try:
            kinds = nal.kinds(data, width) if width else {nal.SPS}
        except nal.Broken as exc:
            raise NotCopyable("some of its packets are damaged") from exc
        if nal.SPS in kinds or nal.PPS in kinds:
            units = splice.units_of(track, data)
            if any(u[0] & 31 in (nal.SPS, nal.PPS) and u not in known for u in units):
                raise NotCopyable("its parameter sets change on the way")
            kinds = {u[0] & 31 for u in units}
            if not width:
                # start codes become lengths; the sets are in the file's header, and delimiters have no place in MP4
                data = nal.join([u for u in units if u[0] & 31 not in (nal.SPS, nal.PPS, nal.AUD)])
        if not kinds & {1, 2, 5}:
            raise NotCopyable("some of its packets are damaged")
        yield Coded(data, sample.pts, nal.IDR in kinds)
