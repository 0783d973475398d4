"""What goes with picture and sound: chapters, titles, languages, covers, attachments, timecodes, turns."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from native.media import hdr, index, matroska, smpte, source
from native.media.made import Made
from tests import clips
from tests.media.cutting import render

CHAPTERS = """;FFMETADATA1
title=A film
[CHAPTER]
TIMEBASE=1/1000
START=0
END=1000
title=One
[CHAPTER]
TIMEBASE=1/1000
START=1000
END=2500
title=Two
[CHAPTER]
TIMEBASE=1/1000
START=2500
END=6000
title=Three
"""


def rich(folder: Path, container: str) -> Path:
    """A clip with chapters, a cover, and in Matroska an attached file."""
    path = folder / f"rich.{container}"
    if not path.exists():
        plain, words, cover, font = clips.make(clips.H264["gop30"], folder), folder / "words.txt", folder / "cover.png", folder / "a.ttf"
        words.write_text(CHAPTERS)
        font.write_bytes(bytes(range(256)) * 8)
        clips.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64", "-frames:v", "1", str(cover))
        said = ["-metadata:s:a:0", "language=deu", "-metadata:s:a:0", "title=Ton", "-disposition:a:0", "default+visual_impaired"]
        inputs = ["-i", str(plain), "-i", str(words), "-i", str(cover), "-map", "0", "-map_metadata", "1"]
        if container == "mkv":
            more = ["-attach", str(cover), "-metadata:s:t:0", "mimetype=image/png", "-metadata:s:t:0", "filename=cover.png"]
            more += ["-attach", str(font), "-metadata:s:t:1", "mimetype=font/ttf", "-metadata:s:t:1", "filename=a.ttf"]
        else:
            more = ["-map", "2", "-disposition:v:1", "attached_pic", "-timecode", "10:00:00:00"]
        clips.ffmpeg(*inputs, "-c", "copy", *said, *more, str(path))
    return path


def chapters_of(made: Made) -> list[tuple[Fraction, Fraction, str]]:
    with av.open(str(made.path)) as container:
        return [(c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"]["title"]) for c in container.chapters()]


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "webm"])
def test_chapters_of_every_segment_lie_at_their_places(container: str, folder: Path, tmp_path: Path) -> None:
    """Chapters are cut to their segments and follow them; one that a join only passes through stays one."""
    segments = [{"start": "0.7", "end": "1.5"}, {"start": "1.5", "end": "2"}, {"start": "4", "end": "5"}]
    made = render([rich(folder, "mkv")], tmp_path, *segments, container=container)
    expected = [(0, Fraction(3, 10), "One"), (Fraction(3, 10), Fraction(13, 10), "Two"), (Fraction(13, 10), Fraction(23, 10), "Three")]
    found = chapters_of(made)
    assert [title for *_, title in found] == [title for *_, title in expected]
    for got, want in zip(found, expected, strict=True):
        assert all(abs(a - b) <= Fraction(1, 1000) for a, b in zip(got[:2], want[:2], strict=True))
    with av.open(str(made.path)) as opened:
        assert opened.metadata["title"] == "A film"


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_chapters_of_several_sources(container: str, folder: Path, tmp_path: Path) -> None:
    """Each source brings its own chapters, and where it has none there is none of another's."""
    other = clips.make(clips.Recipe("gop30b", clips.H264["gop30"].video, seconds=3), folder)
    segments = [{"source": 0, "end": "1"}, {"source": 1, "start": "0.5", "end": "1.5"}]
    made = render([other, rich(folder, "mp4")], tmp_path, *segments, container=container)
    assert [chapter for chapter in chapters_of(made) if chapter[2]] == [
        (Fraction(1), Fraction(3, 2), "One"),
        (Fraction(3, 2), Fraction(2), "Two"),
    ]


@pytest.mark.parametrize(("container", "purpose"), [("mp4", True), ("mov", False), ("mkv", True), ("webm", False), ("ts", True)])
def test_tracks_say_what_they_said(container: str, purpose: bool, folder: Path, tmp_path: Path) -> None:
    """Language, title and purpose are kept; what a container cannot say is a warning."""
    made = render([rich(folder, "mkv")], tmp_path, {"start": "1", "end": "2"}, container=container)
    sound = next(s for s in made.streams if s.kind == "audio")
    assert sound.language == "deu"
    assert (sound.title == "Ton") == (container != "ts")
    assert ("visual_impaired" in sound.disposition) == purpose
    warned = [w for w in made.warnings if "says of itself" in w]
    assert bool(warned) == (not purpose or container == "ts")


@pytest.mark.parametrize(("source_kind", "container"), [("mp4", "mp4"), ("mkv", "mkv"), ("mp4", "mkv"), ("mkv", "mp4")])
def test_covers_go_along(source_kind: str, container: str, folder: Path, tmp_path: Path) -> None:
    """The cover's bytes are the source's."""
    made = render([rich(folder, source_kind)], tmp_path, {"start": "1", "end": "2"}, container=container)
    assert picture_of(made.path) == (folder / "cover.png").read_bytes()


@pytest.mark.parametrize("container", ["mov", "webm", "ts"])
def test_covers_that_cannot_go_along_are_named(container: str, folder: Path, tmp_path: Path) -> None:
    made = render([rich(folder, "mp4")], tmp_path, {"start": "1", "end": "2"}, container=container)
    assert any("the cover picture" in w for w in made.warnings)


def picture_of(path: Path) -> bytes:
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams.video if s.disposition & av.stream.Disposition.attached_pic)
        return next(bytes(p) for p in container.demux(stream) if p.size)


def test_attached_files_go_into_matroska(folder: Path, tmp_path: Path) -> None:
    """A font is copied with its name, and elsewhere named as left out."""
    made = render([rich(folder, "mkv")], tmp_path, {"start": "1", "end": "2"}, container="mkv")
    with av.open(str(made.path)) as container:
        found = next(s for s in container.streams if s.type == "attachment")
        assert (found.metadata["filename"], found.data) == ("a.ttf", (folder / "a.ttf").read_bytes())  # type: ignore[attr-defined]
    made = render([rich(folder, "mkv")], tmp_path, {"start": "1", "end": "2"})
    assert any("attachments" in w for w in made.warnings)


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv"])
def test_the_timecode_is_that_of_the_first_frame(container: str, folder: Path, tmp_path: Path) -> None:
    """A cut from frame 45 on begins 45 frames later in its timecode too; over joins it cannot be right, and that is said."""
    made = render([rich(folder, "mp4")], tmp_path, {"start": "1.5", "end": "2.5"}, container=container)
    assert made.streams[0].timecode == "10:00:01:15"
    assert not any("timecode" in w for w in made.warnings)
    made = render([rich(folder, "mp4")], tmp_path, {"start": "1", "end": "2"}, {"start": "4", "end": "5"}, container=container)
    assert any("timecode" in w for w in made.warnings)


@pytest.mark.parametrize(
    ("label", "frames", "rate", "expected"),
    [
        ("10:00:00:00", 45, Fraction(30), "10:00:01:15"),
        ("00:00:59;29", 1, Fraction(30000, 1001), "00:01:00;02"),
        ("00:09:59;29", 1, Fraction(30000, 1001), "00:10:00;00"),
        ("00:00:00;00", 17982, Fraction(30000, 1001), "00:10:00;00"),
        ("00:00:00;00", 107892, Fraction(30000, 1001), "01:00:00;00"),
        ("00:00:59;59", 1, Fraction(60000, 1001), "00:01:00;04"),
        ("23:59:59:24", 1, Fraction(25), "00:00:00:00"),
        ("23:59:59;29", 1, Fraction(30000, 1001), "00:00:00;00"),
        ("01:00:00:00", -1, Fraction(24), "00:59:59:23"),
        ("noon", 1, Fraction(25), None),
    ],
)
def test_timecodes_are_counted_as_smpte_counts_them(label: str, frames: int, rate: Fraction, expected: str | None) -> None:
    """With the numbers that drop-frame timecodes leave out: 17982 frames are ten minutes (ST 12-1 §9.3)."""
    assert smpte.later(label, frames, rate) == expected


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "webm"])
@pytest.mark.parametrize("mode", ["exact", "encode"])
def test_turned_pictures_stay_turned(container: str, mode: str, folder: Path, tmp_path: Path) -> None:
    """Copied or encoded, into MP4 or Matroska, the decoder is told the same turn as by the source."""
    clip = clips.rotated(folder)
    made = render([clip], tmp_path, {"start": "1", "end": "2"}, mode=mode, container=container)
    assert turn_of(made.path) == turn_of(clip) != 0
    assert made.streams[0].rotation == 270
    # a second cut, from what was just made
    again = tmp_path / "again"
    again.mkdir()
    assert turn_of(render([made.path], again, {"end": "0.5"}).path) == turn_of(clip)


def turn_of(path: Path) -> int:
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).rotation


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_turn_of_matroska_is_read_as_decoders_read_it(degrees: int, mirrored: bool, folder: Path, tmp_path: Path) -> None:
    """For all eight ways to hold a camera, the nine numbers are those that libavformat gives its decoders."""
    path = tmp_path / "turned.mkv"
    with av.open(str(clips.make(clips.H264["gop30"], folder))) as plain, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(plain.streams.video[0], opaque=True)
        stream.set_display_rotation(degrees, mirrored)
        for packet in plain.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux_one(packet)
    with av.open(str(path)) as turned:
        side = next(turned.decode(video=0)).side_data
        told = bytes(side["DISPLAYMATRIX"]) if degrees or mirrored else None  # type: ignore[call-overload]
    blocks = source.Blocks(source.FileSource(path))
    found = matroska.matrices(blocks)[0]
    assert (b"".join(v.to_bytes(4, "little", signed=True) for v in found) if found else None) == told
    video = index.build(blocks).video
    assert video is not None
    assert video.stream.matrix == found


def test_a_second_picture_is_left_out_with_a_word(folder: Path, tmp_path: Path) -> None:
    """Only the main picture is cut."""
    plain, two = clips.make(clips.H264["gop30"], folder), folder / "two.mp4"
    if not two.exists():
        clips.ffmpeg("-i", str(plain), "-map", "0:v", "-map", "0:v", "-map", "0:a", "-c", "copy", str(two))
    made = render([two], tmp_path, {"start": "1", "end": "2"})
    assert any("further video tracks" in w for w in made.warnings)
    assert sum(s.kind == "video" for s in made.streams) == 1


def bright(folder: Path) -> Path:
    """An HDR clip whose pictures and container both say what screen and what light it was made for."""
    path = folder / "bright.mp4"
    if not path.exists():
        screen = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
        said = f"log-level=error:keyint=15:hdr10=1:master-display={screen}:max-cll=1000,400:colorprim=9:transfer=16:colormatrix=9"
        plain, small = folder / "said.mp4", ["-f", "lavfi", "-i", f"testsrc2=s={clips.WIDTH}x{clips.HEIGHT}:r=30:d=1"]
        encoder = ["-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le", "-tag:v", "hvc1"]
        clips.ffmpeg(*small, *encoder, "-x265-params", said, str(plain))
        # FFmpeg lifts what it decodes into the container
        clips.ffmpeg("-i", str(plain), *encoder, "-x265-params", "log-level=error:keyint=15", str(path))
    return path


def light_of(path: Path) -> dict[str, bytes]:
    with av.open(str(path)) as container:
        return {s.type.name: bytes(s) for s in next(container.decode(video=0)).side_data if "SEI" not in s.type.name}


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_copied_hdr_keeps_what_the_container_says(container: str, folder: Path, tmp_path: Path) -> None:
    """Screen and light are in the output's own boxes, or elements, as in the source's."""
    made = render([bright(folder)], tmp_path, {}, container=container)
    assert made.copied_frames == made.frames
    data = made.path.read_bytes()
    assert all(word in data for word in ((b"mdcv", b"clli") if container == "mp4" else (b"\x55\xd0", b"\x55\xbc", b"\x55\xbd")))
    assert light_of(made.path) == light_of(bright(folder))


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_encoded_hdr_says_it_again(container: str, folder: Path, tmp_path: Path) -> None:
    """Encoded anew, the pictures themselves say it, with the colours."""
    made = render([bright(folder)], tmp_path, {"start": "0.2"}, mode="encode", container=container)
    before, after = light_of(bright(folder)), light_of(made.path)
    assert after["CONTENT_LIGHT_LEVEL"] == before["CONTENT_LIGHT_LEVEL"]
    assert hdr._screen(after["MASTERING_DISPLAY_METADATA"]) == hdr._screen(before["MASTERING_DISPLAY_METADATA"])
    assert hdr._screen(before["MASTERING_DISPLAY_METADATA"]) == "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    facts = made.streams[0]
    assert (facts.color_primaries, facts.color_transfer, facts.color_matrix) == (9, 16, 9)
