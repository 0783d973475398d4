"""Outputs whose copied packets stay in their sources: put together, they are what the ordinary way makes, and little was read for them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from native.media import edit, engine, leaving, source, verify
from native.media.made import Made
from tests import clips
from tests.media import cutting

KIB = 1 << 10
LEAST = 64 * KIB


def render(paths: list[Path], room: Path, *segments: dict[str, object], mode: str = "exact", least: int | None = LEAST) -> tuple[Made, int]:
    """A result, put together if it has a layout, and how many bytes of its sources were read for it."""
    room.mkdir()
    asked = edit.Edit.model_validate({"segments": segments, "mode": mode, "output": {"container": "mp4"}})
    sources = [source.FileSource(p) for p in paths]
    made = engine.render(asked, sources, room, lambda *_: None, least)
    verify.verify(made, asked)
    read = sum(s.bytes_read for s in sources)
    if made.layout is not None:
        data = made.path.read_bytes()
        made.layout.check(len(data), [s.size for s in sources])
        whole = b"".join(
            (data if p.source is None else paths[p.source].read_bytes())[p.offset : p.offset + p.size] for p in made.layout.pieces
        )
        assert len(whole) == made.size
        out = room / "whole.mp4"
        out.write_bytes(whole)
        made = made.model_copy(update={"path": out})
    return made, read


def packets(path: Path) -> list[list[tuple[bytes, int | None, int | None, int | None, bool]]]:
    with av.open(str(path)) as container:
        found: list[list[tuple[bytes, int | None, int | None, int | None, bool]]] = [[] for _ in container.streams]
        for packet in container.demux():
            if packet.size:
                found[packet.stream_index].append((bytes(packet), packet.pts, packet.dts, packet.duration, packet.is_keyframe))
        return found


@pytest.mark.parametrize("name", ["gop30", "pyramid", "no_b", "main_slices", "ntsc", "silent", "vfr", "ten_bit"])
@pytest.mark.parametrize(("start", "end"), [("0.7", "5.2"), ("1", "4")])
def test_the_same_packets_at_the_same_times(folder: Path, tmp_path: Path, name: str, start: str, end: str) -> None:
    """Every packet of every track is the one that the ordinary way writes, with its times; and the gates of an exact cut hold."""
    clip = clips.make(clips.H264[name], folder)
    segment = {"source": 0, "start": start, "end": end}
    left, _ = render([clip], tmp_path / "left", segment)
    usual, _ = render([clip], tmp_path / "usual", segment, least=None)
    assert left.layout is not None
    assert usual.layout is None
    assert packets(left.path) == packets(usual.path)
    assert (left.copied_frames, left.primed_frames, left.encoded_frames) == (usual.copied_frames, usual.primed_frames, usual.encoded_frames)
    assert left.streams == usual.streams
    assert left.duration == usual.duration
    cutting.check(clip, left, Fraction(start), Fraction(end))


@pytest.mark.parametrize("mode", ["instant", "keyframe"])
def test_other_modes_leave_what_they_copy(folder: Path, tmp_path: Path, mode: str) -> None:
    """Instant and key-frame cuts are the same files, too."""
    clip = clips.make(clips.H264["gop30"], folder)
    segment = {"source": 0, "start": "1.3", "end": "5.2"}
    left, _ = render([clip], tmp_path / "left", segment, mode=mode)
    usual, _ = render([clip], tmp_path / "usual", segment, mode=mode, least=None)
    assert left.layout is not None
    assert packets(left.path) == packets(usual.path)


def test_segments_of_several_sources(folder: Path, tmp_path: Path) -> None:
    """Three segments of two sources, one of which goes back: the same pictures and the same sound as the ordinary way."""
    both = [
        clips.make(clips.H264["gop30"], folder),
        clips.make(replace(clips.H264["gop30"], name="gop30_again", filters="hue=h=40"), folder),
    ]
    segments = [
        {"source": 0, "start": "2.5", "end": "5.9"},
        {"source": 1, "start": "0.2", "end": "4.1"},
        {"source": 0, "start": "0", "end": "3"},
    ]
    left, _ = render(both, tmp_path / "left", *segments)
    usual, _ = render(both, tmp_path / "usual", *segments, least=None)
    assert left.layout is not None
    assert {piece.source for piece in left.layout.pieces} == {None, 0, 1}
    assert packets(left.path)[0] == packets(usual.path)[0]
    assert [p[1:] for p in packets(left.path)[1]] == [p[1:] for p in packets(usual.path)[1]]


def test_little_is_read(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a long cut the middle is never read, not even to prove it."""
    clip = clips.make(replace(clips.H264["gop30"], name="rich_and_long", seconds=40, filters="noise=alls=40:allf=t"), folder)
    monkeypatch.setattr(verify, "SMALL", 0)
    left, read = render([clip], tmp_path / "left", {"source": 0, "start": "0.7", "end": "39.2"}, least=256 * KIB)
    assert left.layout is not None
    assert left.layout.made < left.size / 5
    assert read < left.size / 3


def test_sets_on_the_way_are_not_left(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Key frames that bring parameter sets are looked at one by one in the ordinary way."""
    clip = clips.make(clips.H264["gop30"], folder)
    monkeypatch.setattr(leaving, "_plain", lambda *_: False)
    made, _ = render([clip], tmp_path / "out", {"source": 0, "start": "0.7", "end": "5.2"})
    assert made.layout is None


@pytest.mark.parametrize(
    ("head", "plain"),
    [
        (b"\0\0\0\x02\x65x", True),
        (b"\0\0\0\x02\x06x\0\0\0\x02\x65x", True),
        (b"\0\0\0\x02\x67x\0\0\0\x02\x65x", False),
        (b"\0\0\0\x02\x68x", False),
        (b"\0\0\0\0\x65x", False),
        (b"\0\0\xff\x02\x65x", False),
    ],
)
def test_what_a_key_frame_begins_with(head: bytes, plain: bool) -> None:
    """Slices and messages only, in units that add up."""
    assert leaving._plain(head, len(head), 4) is plain


def test_a_layout_that_does_not_hold_is_made_the_ordinary_way(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in the joined file is found by the proof, and nobody sees that file."""
    clip = clips.make(clips.H264["gop30"], folder)
    honest = leaving.join.join

    def off_by_one(*arguments: object, **more: object) -> object:
        layout = honest(*arguments, **more)  # type: ignore[arg-type]
        shifted = [p.model_copy(update={"offset": p.offset + 1}) if p.source is not None else p for p in layout.pieces]  # type: ignore[union-attr]
        return layout.model_copy(update={"pieces": tuple(shifted)})  # type: ignore[union-attr]

    monkeypatch.setattr(leaving.join, "join", off_by_one)
    made, _ = render([clip], tmp_path / "out", {"source": 0, "start": "0.7", "end": "5.2"})
    assert made.layout is None
    cutting.check(clip, made, Fraction("0.7"), Fraction("5.2"))
