"""MPEG-TS as the output: every frame in its place, the sound with it, and what a receiver needs that comes in half-way."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest

from native import errors
from native.media import edit, engine, nal, source, verify
from tests import clips
from tests.media import looking
from tests.media.cutting import check, render

PACKET = 188  # bytes


@pytest.mark.parametrize("name", ["gop30", "pyramid", "open_gop", "ntsc", "vfr", "transport", "mono44"])
def test_a_cut_into_a_transport_stream_is_exact(name: str, folder: Path, tmp_path: Path) -> None:
    """The frames asked for, copied where they can be, and the sound where it belongs to a millisecond."""
    clip = clips.make(clips.H264[name], folder)
    start, end = Fraction(7, 10), Fraction(24, 10)
    made = render([clip], tmp_path, {"start": str(start), "end": str(end)}, container="ts")
    begin = check(clip, made, start, end)[0].time
    assert made.encoded_frames < made.frames
    for at in (Fraction(1, 20), Fraction(1), Fraction(3, 2)):
        assert abs(looking.lag(clip, made.path, begin, at)) <= 48


X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "keyint=24:min-keyint=24:scenecut=0:open-gop=0:log-level=error")


@pytest.mark.parametrize("name", ["hevc", "mpeg2"])
def test_other_codecs_of_transport_streams(name: str, folder: Path, tmp_path: Path) -> None:
    """HEVC, and MPEG-2 with its own kind of sound, show exactly the frames asked for."""
    recipe = clips.OTHERS[name] if name in clips.OTHERS else clips.Recipe("hevc_closed", (*X265, "-tag:v", "hvc1"), seconds=3)
    clip = clips.make(recipe, folder)
    made = render([clip], tmp_path, {"start": "0.7", "end": "2.1"}, container="ts")
    begin = check(clip, made, Fraction(7, 10), Fraction(21, 10))[0].time
    assert [s.codec for s in made.streams if s.kind == "audio"] == [{"hevc": "aac", "mpeg2": "mp2"}[name]]
    assert abs(looking.lag(clip, made.path, begin, Fraction(1))) <= 48


def test_hevc_is_copied_with_its_parameter_sets(folder: Path, tmp_path: Path) -> None:
    """Copied HEVC stands between start codes, and every key frame brings its three sets along."""
    clip = clips.make(clips.Recipe("hevc_closed", (*X265, "-tag:v", "hvc1"), seconds=3), folder)
    made = render([clip], tmp_path, {}, container="ts")
    assert made.copied_frames == made.frames
    check(clip, made, Fraction(0), None)
    with av.open(str(made.path)) as container:
        keys = [nal.annexb(bytes(p)) for p in container.demux(video=0) if p.size and p.is_keyframe]
    assert len(keys) > 2
    assert all({32, 33, 34, 35} <= {unit[0] >> 1 & 63 for unit in units} for units in keys)


def test_segments_with_encoded_sound_begin_together(folder: Path, tmp_path: Path) -> None:
    """Sound that is encoded begins with its first whole packet, so that the picture is the first thing to be shown."""
    clip = clips.make(clips.H264["gop30"], folder)
    made = render([clip], tmp_path, {"start": "0.7", "end": "1.4"}, {"start": "3", "end": "4"}, container="ts")
    with av.open(str(made.path)) as container:
        picture, sound = container.streams.video[0], container.streams.audio[0]
        assert picture.start_time is not None
        assert sound.start_time is not None
        assert 0 <= (sound.start_time * sound.time_base - picture.start_time * picture.time_base) < Fraction(1, 40)
    for begin, at in ((Fraction(7, 10), Fraction(2, 10)), (Fraction(3) - Fraction(7, 10), Fraction(12, 10))):
        assert abs(looking.lag(clip, made.path, begin, at)) <= 48


@pytest.mark.parametrize(("name", "sets", "delimiter"), [("pyramid", {7, 8}, 9), ("open_gop", {7, 8}, 9)])
def test_every_key_frame_says_what_a_receiver_needs(name: str, sets: set[int], delimiter: int, folder: Path, tmp_path: Path) -> None:
    """Every picture begins with its delimiter, and every key frame brings its parameter sets along."""
    clip = clips.make(clips.H264[name], folder)
    made = render([clip], tmp_path, {"start": "0.7"}, container="ts")
    keys = 0
    with av.open(str(made.path)) as container:
        for packet in container.demux(video=0):
            if not packet.size:
                continue
            kinds = [unit[0] & 31 for unit in nal.annexb(bytes(packet))]
            assert kinds[0] == delimiter
            if packet.is_keyframe:
                keys += 1
                assert sets <= set(kinds)
    assert keys > 1


def test_the_clock_comes_often_enough(folder: Path, tmp_path: Path) -> None:
    """The programme's clock is there at least every 100 ms (ISO/IEC 13818-1 2.7.2) and never runs ahead of what is decoded."""
    clip = clips.make(clips.H264["gop30"], folder)
    made = render([clip], tmp_path, {"start": "0.7", "end": "4"}, container="ts")
    clocks = clocks_of(made.path.read_bytes())
    assert len(clocks) > 30
    assert all(0 < b - a <= Fraction(1, 10) for a, b in pairwise(clocks))
    with av.open(str(made.path)) as container:
        first = next(p for p in container.demux(video=0) if p.size)
        assert first.dts is not None
        assert clocks[0] <= first.dts * first.time_base


def clocks_of(data: bytes) -> list[Fraction]:
    """Seconds of the clock references in the packets' adaptation fields."""
    found = []
    for at in range(0, len(data), PACKET):
        packet = data[at : at + PACKET]
        assert packet[0] == 0x47
        if packet[3] & 0x20 and packet[4] and packet[5] & 0x10:
            found.append(Fraction(int.from_bytes(packet[6:10], "big") << 1 | packet[10] >> 7, 90_000))
    return found


def test_what_it_cannot_keep_is_said(folder: Path, tmp_path: Path) -> None:
    """A transport stream does not say how a picture is turned."""
    made = render([clips.rotated(folder)], tmp_path, {"start": "1", "end": "2"}, container="ts")
    assert any("turned" in warning for warning in made.warnings)


def test_the_proof_knows_the_container(folder: Path, tmp_path: Path) -> None:
    """A transport stream that lost its end is not passed on."""
    clip = clips.make(clips.H264["gop30"], folder)
    asked = edit.Edit.model_validate({"segments": [{"start": "0.7", "end": "3"}], "output": {"container": "ts"}})
    made = engine.render(asked, [source.FileSource(clip)], tmp_path, lambda *_: None)
    made.path.write_bytes(made.path.read_bytes()[: made.size * 2 // 3 // PACKET * PACKET])
    with pytest.raises(errors.Problem) as caught:
        verify.verify(made, asked)
    assert caught.value.kind is errors.VERIFY_FAILED
