"""Packets found in one piece while the demuxer walks: later read without it, the same bytes; the others are left to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from native.media import index, packets
from native.media.places import Places
from native.media.source import Blocks, FileSource, Held
from tests import clips

IN_PIECES = [clips.H264["matroska"], clips.H264["fragmented"], clips.OTHERS["vp9"], clips.OTHERS["mpeg4"]]


@pytest.mark.parametrize("recipe", IN_PIECES, ids=lambda recipe: recipe.name)
def test_packets_are_read_where_they_lie(recipe: clips.Recipe, folder: Path) -> None:
    """Matroska, fragmented MP4, WebM and AVI: every packet of every track is the one that the demuxer gives."""
    found = index.build(Blocks(FileSource(clips.make(recipe, folder))))
    for track in found.tracks.values():
        assert track.offsets is not None
        count = len(track.pts)
        placed = [sample.data for sample in packets.read(found, track, 0, count)]
        track.offsets = None
        assert placed == [sample.data for sample in packets.read(found, track, 0, count)]


def test_one_short_run_costs_what_it_is(folder: Path) -> None:
    """The last second out of Matroska reads its own blocks, not the file's beginning."""
    with FileSource(clips.make(clips.H264["matroska"], folder)) as source:
        found = index.build(Blocks(source))
        video = found.video
        assert video is not None
        found.blocks = Blocks(source, block=4096)
        before, last = source.bytes_read, len(video.pts)
        run = sum(len(sample.data) for sample in packets.read(found, video, last - 30, last))
        assert source.bytes_read - before < 2 * run + 2 * 4096 < source.size


def test_a_transport_stream_is_left_to_the_demuxer(folder: Path) -> None:
    """Packets that lie in many pieces have no place."""
    found = index.build(Blocks(FileSource(clips.make(clips.H264["transport"], folder))))
    assert found.video is not None
    assert found.video.offsets is None


def test_only_what_was_compared_is_believed() -> None:
    """A demuxer that names wrong positions, or packets that are not in the file, give no places; laces and changing heads do."""
    data = bytes(range(250)) * 4
    lace = Places(Blocks(Held(data)))
    for position, start, end in ((0, 3, 10), (0, 10, 17), (20, 23, 30), (40, 47, 90)):
        lace.see(position, data[start:end])
    found = lace.found()
    assert found is not None
    assert [data[at : at + n] for at, n in zip(found, (7, 7, 7, 43), strict=True)] == [data[3:10], data[10:17], data[23:30], data[47:90]]
    for position, packet in ((None, data[50:59]), (100, data[50:59]), (0, b"\1\1\1"), (5000, b"x")):
        lost = Places(Blocks(Held(data)))
        lost.see(position, packet)
        lost.see(0, data[3:10])
        assert lost.found() is None
