"""Damage that the decoder can see is never made into a clean file."""

import os
import subprocess
from pathlib import Path

import av
import imageio_ffmpeg
import pytest

from native import errors
from native.media import engine
from native.media.edit import Edit, Segment
from native.media.source import FileSource
from native.media.timecode import parse
from tests import clips, frames
from tests.media import looking

ROOT = Path(__file__).parents[2]
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """8 s at 30 frames a second, an IDR each 2 s."""
    path = tmp_path_factory.mktemp("damage") / "clip.mp4"
    command = [FFMPEG, "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=30:d=8", "-c:v", "libx264", "-preset", "veryfast"]
    subprocess.run([*command, "-g", "60", "-bf", "2", "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(path)], check=True)
    return path


def first_picture(path):
    """Where the first coded picture lies: offset and size in bytes."""
    with av.open(str(path)) as file:
        packet = next(file.demux(file.streams.video[0]))
        return packet.pos, packet.size


def seen(path):
    """What FFmpeg says of the first two seconds."""
    command = [FFMPEG, "-v", "error", "-t", "2", "-i", str(path), "-f", "null", "-"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


@pytest.mark.parametrize("mode", ["exact", "encode"])
def test_damage_before_the_cut_is_damage(mode, clip, tmp_path):
    """A flipped bit in the key frame before the cut spoils the frames after it: a source unreadable there, not a clean film of garbage."""
    body, (at, size) = clip.read_bytes(), first_picture(clip)
    edit, judged = Edit(segments=(Segment(source=0, start=parse("1.3"), end=parse("1.9")),), mode=mode), 0
    for step in range(1, 10):
        place = at + size * step // 10
        path = tmp_path / f"{step}.mp4"
        path.write_bytes(body[:place] + bytes([body[place] ^ 8]) + body[place + 1 :])
        if not seen(path):
            continue  # it says nothing itself, so there is nothing to be seen
        judged += 1
        (tmp_path / f"room{step}").mkdir()
        with FileSource(path) as source, pytest.raises(errors.Problem) as refused:
            engine.render(edit, [source], tmp_path / f"room{step}", lambda _done, _all: None)
        assert refused.value.code == "source_unreadable"

    assert judged >= 3


def test_key_frames_that_are_none_are_not_trusted(tmp_path):
    """A clip whose container calls P-frames key frames is cut from what a whole decode shows."""
    media = Path(os.environ.get("NVE_MEDIA", ROOT.parent / "shared" / "media"))
    path = media / "04_phone_rotation_vfr" / "mp4parser__MOV00006.3gp"
    if not path.exists():
        pytest.skip(f"the real clips are not at {media}: set NVE_MEDIA to their folder")
    edit = Edit(segments=(Segment(source=0, start=parse("4.0"), end=parse("6.0")),))
    with FileSource(path) as source:
        made = engine.render(edit, [source], tmp_path, lambda _done, _all: None)
    shown, whole = frames.shown(made.path), [it for it in frames.shown(path) if 4 <= it[0] < 6]

    assert len(shown) == len(whole) == made.frames
    assert min(frames.psnr(luma, whole[n][1]) for n, (_, luma) in enumerate(shown)) > 30


def test_copied_sound_that_does_not_decode_is_no_success(folder, tmp_path):
    """Sound that was overwritten is refused, though nobody decodes what is copied; a single packet of it becomes silence."""
    clip = clips.make(clips.H264["gop30"], folder)
    with av.open(str(clip)) as file:
        places = [(packet.pos, packet.size) for packet in file.demux(file.streams.audio[0]) if packet.size]
    for spoilt, judged in ((places[40:41], "encoded"), (places[30:90], "source_unreadable")):
        data = bytearray(clip.read_bytes())
        for at, size in spoilt:
            data[at : at + size] = b"\xff" * size
        path = tmp_path / f"{len(spoilt)}.mp4"
        path.write_bytes(data)
        try:
            with FileSource(path) as source:
                made = engine.render(Edit(segments=(Segment(source=0, start=parse("0.5")),)), [source], tmp_path, lambda _done, _all: None)
            what = "encoded" if made.encoded_frames == made.frames else "copied"
            looking.strictly_decodes(made.path)
        except errors.Problem as problem:
            what = problem.code
        assert what == judged


def test_what_the_decoder_concealed_before_a_primed_cut_is_damage(folder, tmp_path):
    """Bytes overwritten inside a picture of the head's group: the decoder patches it up without a word, and all after it is spoilt."""
    clip = clips.make(clips.H264["no_b"], folder)
    with av.open(str(clip)) as file:
        at = [packet.pos for packet in file.demux(file.streams.video[0]) if packet.size][10]
    data = bytearray(clip.read_bytes())
    data[at + 120 : at + 152] = b"\xff" * 32
    path = tmp_path / "spoilt.mp4"
    path.write_bytes(data)
    edit = Edit(segments=(Segment(source=0, start=parse("0.8"), end=parse("2.5")),))
    with FileSource(path) as source, pytest.raises(errors.Problem) as refused:
        engine.render(edit, [source], tmp_path, lambda _done, _all: None)
    assert refused.value.code == "source_unreadable"
