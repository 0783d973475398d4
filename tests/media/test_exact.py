"""The exact cut: the frames shown are the frames asked for, and what is copied is copied bit for bit."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

import pytest

from native import errors
from native.media import edit, engine, index, source
from tests import clips
from tests.media import looking
from tests.media.cutting import check, render


@pytest.mark.parametrize("name", clips.H264)
def test_random_cuts_show_exactly_the_frames_asked_for(name: str, folder: Path, tmp_path: Path) -> None:
    """For every kind of H.264 clip, a cut shows {n: start <= pts < end}, in order, at their times, and copies are bit-identical."""
    clip = clips.make(clips.H264[name], folder)
    chance = random.Random(name)
    duration = looking.frames(clip)[-1].time
    for _ in range(2):
        start = Fraction(chance.randrange(0, int(duration * 700)), 1000)
        end = min(start + Fraction(chance.randrange(100, 2500), 1000), duration)
        made = render([clip], tmp_path, {"start": str(start), "end": str(end)})
        check(clip, made, start, end)


@pytest.mark.parametrize("name", ["gop250", "pyramid", "no_b", "vfr", "ntsc", "matroska", "transport", "fragmented"])
def test_the_last_frame_is_never_lost(name: str, folder: Path, tmp_path: Path) -> None:
    """A cut to the end of the source keeps its last frame."""
    clip = clips.make(clips.H264[name], folder)
    start = Fraction(41, 10)
    made = render([clip], tmp_path, {"start": str(start)})
    check(clip, made, start, None)


@pytest.mark.parametrize("name", ["gop30", "pyramid", "baseline", "matroska", "moov_last"])
def test_the_whole_source_is_copied_whole(name: str, folder: Path, tmp_path: Path) -> None:
    """Without a range nothing is encoded."""
    clip = clips.make(clips.H264[name], folder)
    made = render([clip], tmp_path, {})
    assert (made.encoded_frames, made.warnings) == (0, ())
    check(clip, made, Fraction(0), None)


def test_a_cut_on_a_key_frame_copies_everything_but_the_tail(folder: Path, tmp_path: Path) -> None:
    """Starting on an IDR frame encodes nothing at the head, and at the tail at most an incomplete mini-GOP."""
    clip = clips.make(clips.H264["gop30"], folder)
    made = render([clip], tmp_path, {"start": "1", "end": "4.5"})
    assert made.encoded_frames <= 4
    check(clip, made, Fraction(1), Fraction(9, 2))


def test_frames_count_as_times(folder: Path, tmp_path: Path) -> None:
    """`37f` to `100f` is frames 37 … 99, whatever the frame rate."""
    for name in ("ntsc", "vfr", "late_start"):
        clip = clips.make(clips.H264[name], folder)
        made = render([clip], tmp_path, {"start": "37f", "end": "100f"})
        shown = looking.frames(clip)
        assert [f.number for f in looking.frames(made.path)] == [f.number for f in shown[37:100]]


@pytest.mark.parametrize("name", ["gop250", "mono44", "ntsc", "matroska", "transport"])
def test_sound_stays_in_step_with_the_picture(name: str, folder: Path, tmp_path: Path) -> None:
    """The sound of a cut is the source's own at the same place to within a millisecond, from the first moment to the last."""
    clip = clips.make(clips.H264[name], folder)
    start, end = Fraction(137, 100), Fraction(487, 100)
    made = render([clip], tmp_path, {"start": str(start), "end": str(end)})
    begin = check(clip, made, start, end)[0].time
    for at in (Fraction(1, 20), Fraction(1), Fraction(33, 10)):
        assert abs(looking.lag(clip, made.path, begin, at)) <= 48


def test_one_parameter_set_and_none_in_the_stream(folder: Path, tmp_path: Path) -> None:
    """The output has the source's own SPS and no other, and no parameter sets among its samples."""
    from native.media import nal

    clip = clips.make(clips.H264["gop250"], folder)
    made = render([clip], tmp_path, {"start": "2.2", "end": "9.1"})
    assert made.encoded_frames
    assert made.copied_frames
    before, after = index.of(source.FileSource(clip)).video, index.of(source.FileSource(made.path)).video
    assert before is not None
    assert after is not None
    one, other = nal.config(before.extradata), nal.config(after.extradata)
    assert one is not None
    assert other is not None
    assert other.sps == one.sps
    assert other.pps[: len(one.pps)] == one.pps
    assert len(one.pps) < len(other.pps) <= len(one.pps) + 2  # one for the frames at each end
    seen = set()
    file = source.FileSource(made.path)
    for offset, size in zip(after.offsets or (), after.sizes, strict=True):
        seen |= nal.kinds(file.read(offset, size), other.width)
    assert not seen & {nal.SPS, nal.PPS}


def test_rotation_language_title_and_colours_are_kept(folder: Path, tmp_path: Path) -> None:
    """What describes the picture and the sound survives a cut."""
    made = render([clips.rotated(folder)], tmp_path, {"start": "1.1", "end": "3"})
    assert next(s.rotation for s in made.streams if s.kind == "video") == 270
    made = render([clips.rotated(folder)], tmp_path, {"start": "1.1", "end": "3"}, mode="encode")
    assert next(s.rotation for s in made.streams if s.kind == "video") == 270
    made = render([clips.make(clips.H264["tagged"], folder)], tmp_path, {"start": "1.1", "end": "3"})
    video, sound = made.streams[0], made.streams[1]
    assert (video.color_primaries, video.color_transfer, video.color_matrix, sound.language) == (1, 1, 1, "deu")
    import av

    with av.open(str(made.path)) as container:
        assert container.metadata["title"] == "A title"


def test_the_header_comes_first(folder: Path, tmp_path: Path) -> None:
    """The output plays while it is being downloaded: moov before mdat."""
    from native.media import boxes

    made = render([clips.make(clips.H264["moov_last"], folder)], tmp_path, {"start": "1.1", "end": "3"})
    kinds = [kind for kind, *_ in boxes.top_level(source.Blocks(source.FileSource(made.path)))]
    assert kinds.index(b"moov") < kinds.index(b"mdat")


@pytest.mark.parametrize("name", ["mpeg4", "prores"])
def test_other_codecs_are_encoded_once_and_say_so(name: str, folder: Path, tmp_path: Path) -> None:
    """What cannot be copied is encoded, shows exactly the frames asked for, and gives the reason."""
    clip = clips.make(clips.OTHERS[name], folder)
    start, end = Fraction(7, 10), Fraction(17, 10)
    made = render([clip], tmp_path, {"start": str(start), "end": str(end)})
    check(clip, made, start, end)
    assert made.encoded_frames == made.frames
    assert any("encoded anew" in w for w in made.warnings)


def test_a_range_between_two_frames_is_refused(folder: Path, tmp_path: Path) -> None:
    """A range without a frame is a problem, not an empty file."""
    clip = clips.make(clips.H264["gop30"], folder)
    with pytest.raises(errors.Problem) as caught:
        render([clip], tmp_path, {"start": "1.001", "end": "1.02"})
    assert caught.value.kind is errors.RANGE_EMPTY


@pytest.mark.parametrize(
    ("start", "end", "field"), [("7", None, "start"), ("1", "9", "end"), ("200f", None, "start"), ("3f", "0.05", "end")]
)
def test_a_range_outside_the_source_names_the_field(start: str, end: str | None, field: str, folder: Path, tmp_path: Path) -> None:
    """A range past the end is refused with the name of the field at fault."""
    clip = clips.make(clips.H264["gop30"], folder)
    with pytest.raises(errors.Problem) as caught:
        render([clip], tmp_path, {"start": start, **({"end": end} if end else {})})
    assert (caught.value.kind, caught.value.field) == (errors.INVALID_RANGE, field)


def test_few_bytes_of_a_long_source_are_read(folder: Path, tmp_path: Path) -> None:
    """A short cut reads the index and the neighbourhood of the cut, not the file."""
    clip = folder / "long.mp4"
    if not clip.exists():
        sharp = clips.x264("keyint=15:min-keyint=15:scenecut=0:qp=12")
        noise, second = "testsrc2=s=640x360:r=30:d=1,noise=alls=60:allf=t", folder / "second.mp4"
        clips.ffmpeg("-f", "lavfi", "-i", noise, *sharp, "-pix_fmt", "yuv420p", str(second))
        # noise is dear to encode: one second of it, ten times over
        clips.ffmpeg("-stream_loop", "9", "-i", str(second), "-c", "copy", "-movflags", "+faststart", str(clip))
    file = source.FileSource(clip)
    asked = edit.Edit.model_validate({"segments": [{"start": "5.1", "end": "5.9"}]})
    engine.render(asked, [file], tmp_path, lambda *_: None)
    assert file.bytes_read < file.size // 4


def test_encrypted_and_unknown_video_is_refused(folder: Path, tmp_path: Path) -> None:
    """Video that cannot be decoded is neither copied blindly nor an accident."""
    plain = clips.make(clips.H264["gop30"], folder).read_bytes()
    for tag, kind in ((b"encv", errors.SOURCE_UNSUPPORTED), (b"zzzz", errors.CODEC_UNSUPPORTED)):
        clip = tmp_path / f"{tag.decode()}.mp4"
        clip.write_bytes(plain.replace(b"avc1\0\0\0\0\0\0\0\1", tag + b"\0\0\0\0\0\0\0\1"))
        with pytest.raises(errors.Problem) as caught:
            render([clip], tmp_path, {"start": "1", "end": "2"})
        assert caught.value.kind is kind


@pytest.mark.parametrize("name", ["gop30", "moov_last", "matroska", "fragmented", "mpeg4"])
@pytest.mark.parametrize("keep", [0.3, 0.8])
def test_a_source_that_ends_too_soon_is_never_a_short_success(name: str, keep: float, folder: Path, tmp_path: Path) -> None:
    """A file that was cut off is named so, whatever its container."""
    clip = clips.make({**clips.H264, **clips.OTHERS}[name], folder)
    short = tmp_path / f"short{clip.suffix}"
    short.write_bytes(clip.read_bytes()[: int(clip.stat().st_size * keep)])
    with pytest.raises(errors.Problem) as caught:
        render([short], tmp_path, {})
    assert caught.value.kind is errors.SOURCE_TRUNCATED


def test_fragments_keep_their_turn(folder: Path, tmp_path: Path) -> None:
    """A fragmented recording that players turn is turned as well when it is cut or encoded."""
    clip = tmp_path / "fragments.mp4"
    clips.ffmpeg("-i", str(clips.rotated(folder)), "-c", "copy", "-movflags", "frag_keyframe+empty_moov", str(clip))
    for mode in ("exact", "encode"):
        made = render([clip], tmp_path, {"start": "1.1", "end": "2"}, mode=mode)
        assert next(s.rotation for s in made.streams if s.kind == "video") == 270
