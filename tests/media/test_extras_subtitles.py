"""Subtitles: every track of every segment, clipped to it, as the container has them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.codec.context import CodecContext

from native.media import bitmaps, packets
from native.media.made import Made
from tests import clips
from tests.media.cutting import render

LINES = """1
00:00:00,500 --> 00:00:02,000
Hello <i>there</i>
second line

2
00:00:03,000 --> 00:00:04,500
<b>Über</b> & out
"""
SIGNS = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, StrikeOut, \
ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:00.50,0:00:02.00,Default,,0,0,0,,Hello
Dialogue: 0,0:00:01.00,0:00:04.00,Default,,0,0,0,,{\\pos(100,50)}Sign
"""
KEPT = {"mp4": "mov_text", "mov": "mov_text", "mkv": "subrip", "webm": "webvtt"}
TICK = Fraction(1, 1000)


@dataclass(frozen=True)
class Shown:
    begin: Fraction
    end: Fraction
    text: str


def spoken(folder: Path, container: str) -> Path:
    """A clip with German text for the deaf and, in Matroska, a second track with styles."""
    path = folder / f"spoken.{container}"
    if not path.exists():
        lines, signs = folder / "lines.srt", folder / "signs.ass"
        lines.write_text(LINES)
        signs.write_text(SIGNS)
        plain = clips.make(clips.OTHERS["vp9"] if container == "webm" else clips.H264["gop30"], folder)
        inputs, maps, kept = (
            ["-i", str(plain), "-i", str(lines)],
            ["-map", "0", "-map", "1"],
            {"mkv": "copy"}.get(container, KEPT[container]),
        )
        if container == "mkv":
            inputs, maps = [*inputs, "-i", str(signs)], [*maps, "-map", "2"]
        said = ["-metadata:s:s:0", "language=deu", "-disposition:s:0", "forced"]
        clips.ffmpeg(*inputs, *maps, "-c", "copy", "-c:s", kept, *said, str(path))
    return path


def shown(path: Path, track: int = 0) -> list[Shown]:
    """What a player shows of a text track, found by libavformat and libavcodec alone."""
    with av.open(str(path)) as container:
        stream = container.streams.subtitles[track]
        found = []
        for packet in container.demux(stream):
            if not packet.size:
                continue
            begin = packet.pts * packet.time_base
            for one in stream.decode(packet):
                found.append(Shown(begin, begin + packet.duration * packet.time_base, one.ass.decode().split(",", 8)[-1]))
    return found


def near(found: list[Shown], expected: list[tuple[str, str, str]]) -> None:
    assert [s.text for s in found] == [text for *_, text in expected]
    for got, (begin, end, _) in zip(found, expected, strict=True):
        assert abs(got.begin - Fraction(begin)) <= TICK
        assert abs(got.end - Fraction(end)) <= TICK


@pytest.mark.parametrize("target", KEPT)
@pytest.mark.parametrize("origin", ["mp4", "mkv", "webm"])
def test_text_of_every_segment_is_clipped_and_moved(origin: str, target: str, folder: Path, tmp_path: Path) -> None:
    """A cue that the start or the end cuts through is shown for what is left of it, in the container's own kind of text."""
    segments = [{"start": "1.2", "end": "2.8"}, {"start": "0.2", "end": "1"}]
    made = render([spoken(folder, origin)], tmp_path, *segments, container=target)
    facts = next(s for s in made.streams if s.kind == "subtitle")
    assert facts.codec == ("webvtt" if (origin, target) == ("webm", "mkv") else KEPT[target])
    assert facts.language == "deu"
    assert ("forced" in facts.disposition) == (target != "mov" and origin != "webm") or origin == "webm"
    found = shown(made.path)
    assert [s.text.replace("{\\r}", "{\\i0}") for s in found] == ["Hello {\\i1}there{\\i0}\\Nsecond line"] * 2
    for got, (begin, end) in zip(found, [("0", "0.8"), ("1.9", "2.4")], strict=True):
        assert abs(got.begin - Fraction(begin)) <= TICK
        assert abs(got.end - Fraction(end)) <= TICK


def test_a_cue_over_a_join_that_is_none_stays_one(folder: Path, tmp_path: Path) -> None:
    """Two segments that continue each other show a cue once, without a blink."""
    made = render([spoken(folder, "mkv")], tmp_path, {"start": "0.2", "end": "1"}, {"start": "1", "end": "3.5"}, container="mkv")
    near(shown(made.path), [("0.3", "1.8", "Hello {\\i1}there{\\i0}\\Nsecond line"), ("2.8", "3.3", "{\\b1}Über{\\b0} & out")])


def test_overlapping_lines_stand_above_each_other_in_mp4(folder: Path, tmp_path: Path) -> None:
    """MP4 shows one sample at a time, so what is shown together is written together; Matroska keeps both, under numbers of their own."""
    clip = spoken(folder, "mkv")
    made = render([clip], tmp_path, {"start": "0.7", "end": "3"})
    assert any("plainer" in w for w in made.warnings)
    near(shown(made.path, 1), [("0", "0.3", "Hello"), ("0.3", "1.3", "Hello\\NSign"), ("1.3", "2.3", "Sign")])
    kept = render([clip], tmp_path, {"start": "0.7", "end": "3"}, {"start": "0.7", "end": "1.5"}, container="mkv")
    with av.open(str(kept.path)) as container:
        stream = container.streams.subtitles[1]
        data = [bytes(p) for p in container.demux(stream) if p.size]
    assert [int(d.split(b",")[0]) for d in data] == [0, 1, 2, 3]
    assert [d.split(b",", 8)[-1] for d in data] == [b"Hello", b"{\\pos(100,50)}Sign"] * 2


def test_sources_without_text_are_silent_meanwhile(folder: Path, tmp_path: Path) -> None:
    """Tracks correspond by language; a source that has none leaves its stretch empty."""
    plain = clips.make(clips.H264["gop30"], folder)
    segments = [{"source": 0, "end": "2"}, {"source": 1, "start": "3", "end": "4"}]
    made = render([plain, spoken(folder, "mp4")], tmp_path, *segments)
    near(shown(made.path), [("2", "3", "{\\b1}Über{\\r} & out")])  # the style ends where it did


def test_a_range_without_a_cue_keeps_its_track(folder: Path, tmp_path: Path) -> None:
    """The track is there, and says nothing."""
    for container in ("mp4", "mkv"):
        made = render([spoken(folder, container)], tmp_path, {"start": "2.2", "end": "2.9"}, container=container)
        assert any(s.kind == "subtitle" and s.language == "deu" for s in made.streams)
        assert shown(made.path) == []


def test_text_that_the_container_has_no_place_for_is_named(folder: Path, tmp_path: Path) -> None:
    made = render([spoken(folder, "mkv")], tmp_path, {"start": "1", "end": "2"}, container="ts")
    assert sum("subtitles" in w for w in made.warnings) == 2


# pictures ---------------------------------------------------------------------------------------------------------------------------


def display_set(*, count: int, shows: bool, whole: bool) -> bytes:
    """A Blu-ray display set of a white square of 8 × 8 pixels, or of nothing."""

    def segment(kind: int, body: bytes) -> bytes:
        return bytes([kind]) + len(body).to_bytes(2, "big") + body

    state = 0x80 if whole else 0
    head = struct.pack(">HHBHBBBB", clips.WIDTH, clips.HEIGHT, 0x10, count, state, 0, 0, 1 if shows else 0)
    if not shows:
        return segment(0x16, head) + segment(0x80, b"")
    window = struct.pack(">BBHHHH", 1, 0, 16, 16, 8, 8)
    palette = bytes([0, 0, 1, 235, 128, 128, 255])
    runs = b"".join(b"\0\x88\1\0\0" for _ in range(8))  # a line: 8 pixels of colour 1, then its end
    picture = struct.pack(">HBB", 0, 0, 0xC0) + (len(runs) + 4).to_bytes(3, "big") + struct.pack(">HH", 8, 8) + runs
    composed = head + struct.pack(">HBBHH", 0, 0, 0, 16, 16)
    return segment(0x16, composed) + segment(0x17, window) + segment(0x14, palette) + segment(0x15, picture) + segment(0x80, b"")


def pictured(folder: Path) -> Path:
    """A clip with picture subtitles from 1 to 2.5 s and from 3 to 4 s."""
    path = folder / "pictured.mkv"
    if not path.exists():
        with av.open(str(clips.make(clips.H264["gop30"], folder))) as plain, av.open(str(path), "w") as out:
            copied = {s.index: out.add_stream_from_template(s, opaque=True) for s in plain.streams}
            stream = out.add_mux_stream("hdmv_pgs_subtitle", time_base=Fraction(1, 1000))
            sets = [(1000, True), (2500, False), (3000, True), (4000, False)]
            waiting = [(time, display_set(count=n, shows=seen, whole=seen)) for n, (time, seen) in enumerate(sets)]
            for packet in plain.demux():
                while waiting and packet.dts is not None and packet.dts * packet.time_base * 1000 >= waiting[0][0]:
                    time, data = waiting.pop(0)
                    made = packets.owned(data)
                    made.pts = made.dts = time
                    made.time_base, made.is_keyframe, made.stream = Fraction(1, 1000), True, stream
                    out.mux_one(made)
                if packet.size:
                    packet.stream = copied[packet.stream_index]
                    out.mux_one(packet)
    return path


def screens(made: Made) -> list[tuple[Fraction, int]]:
    """(time, rectangles shown from then on), by libavcodec's own decoder."""
    with av.open(str(made.path)) as container:
        stream, decoder = container.streams.subtitles[0], CodecContext.create("pgssub", "r")
        found = []
        for packet in container.demux(stream):
            if packet.size:
                seen = decoder.decode2(packets.owned(bytes(packet)))  # type: ignore[attr-defined]
                found.append((packet.pts * packet.time_base, len(seen) if seen is not None else 0))
    return found


def test_pictures_are_clipped_like_text(folder: Path, tmp_path: Path) -> None:
    """A picture that is seen when a segment begins is there from its beginning, and is gone where the segment ends."""
    segments = [{"start": "1.5", "end": "3.5"}, {"start": "0.2", "end": "0.8"}, {"start": "2", "end": "2.2"}]
    made = render([pictured(folder)], tmp_path, *segments, container="mkv")
    assert [(float(time), seen) for time, seen in screens(made)] == [(0, 1), (1, 0), (1.5, 1), (2, 0), (2.6, 1), (2.8, 0)]


def test_pictures_that_mp4_does_not_hold_are_named(folder: Path, tmp_path: Path) -> None:
    made = render([pictured(folder)], tmp_path, {"start": "1.5", "end": "3.5"})
    assert any("hdmv_pgs_subtitle" in w for w in made.warnings)


def test_display_sets_of_dvb_are_read_and_cleared() -> None:
    """A page that begins anew is told from one that goes on, and a page without regions shows nothing (ETSI EN 300 743 §7.2.2)."""
    page = bytes.fromhex("0f10000100080a080000000a000a") + bytes.fromhex("0f8000010000")
    seen = bitmaps.screen("dvb_subtitle", page)
    assert seen is not None
    assert (seen.whole, seen.shows) == (True, True)
    cleared = bitmaps.screen("dvb_subtitle", seen.cleared)
    assert cleared is not None
    assert (cleared.whole, cleared.shows) == (False, False)
    assert bitmaps.screen("dvb_subtitle", b"\x20\0" + page + b"\xff") == seen
    assert seen.cleared.endswith(bytes.fromhex("0f8000010000"))


def test_a_dvd_picture_is_cut_by_its_own_clock() -> None:
    """The packet's commands say when it is shown and when no more; both move by what is cut off."""
    start, stop = bytes([1, 0xFF]), bytes([2, 0xFF])
    packet = struct.pack(">HH", 16, 4) + struct.pack(">HH", 0, 10) + start + struct.pack(">HH", 200, 10) + stop
    second = Fraction(1024, 90_000)
    cut = bitmaps.retimed(packet, 50 * second, 100 * second)
    assert struct.unpack(">HH", cut[4:8]) == (0, 10)
    assert struct.unpack(">HH", cut[10:14]) == (100, 10)
    assert bitmaps.retimed(packet, Fraction(0), 900 * second) == packet
