"""Joining clips that disagree: frames, pitch, shape, rotation and length of the result, measured in what comes out."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from native import errors
from native.media import conform, engine, process
from native.media.edit import Edit
from native.media.made import Made
from native.media.source import FileSource
from tests.media import greys

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    return partial(greys.make, tmp_path_factory.mktemp("clips"))


def join(tmp_path: Path, files: list[Path], segments: list[dict[str, Any]] | None = None, container: str = "mp4", **output: object) -> Made:
    """The files joined, whole or by segments, in a room of their own."""
    room = tmp_path / "room"
    room.mkdir()
    sources = [FileSource(file) for file in files]
    edit = Edit.model_validate(
        {"segments": segments or [{"source": n} for n in range(len(files))], "mode": "encode", "output": {"container": container, **output}}
    )
    seen: list[tuple[int, int]] = []
    made = engine.render(edit, sources, room, lambda frames, total: seen.append((frames, total)))
    assert sorted(seen) == seen
    assert {total for _, total in seen} <= {made.frames}
    assert [entry.name for entry in room.iterdir()] == [f"output.{container}"]  # what was put there for FFmpeg is gone
    return made


def test_three_that_differ(make: Make, tmp_path: Path) -> None:
    """30 fps stereo 48 kHz + 25 fps mono 44.1 kHz + 24 fps without sound: each keeps its length, its pitch and its frames."""
    files = [
        make("a.mp4", tone=440),
        make("b.mp4", size="120x90", rate="25", frames=50, tone=1000, hz=44100, channels=1),
        make("c.mp4", size="90x160", rate="24", frames=48),
    ]
    made = join(tmp_path, files)
    times, luma = greys.pictures(made.path)
    assert (made.frames, made.encoded_frames, made.copied_frames) == (180, 180, 0)
    assert times == [Fraction(n, 30) for n in range(180)]
    assert luma.shape[1:] == (90, 160)
    seen = greys.numbers(luma)
    assert seen[:60] == list(range(60))
    assert (seen[60], seen[119]) == (0, 49)
    assert sorted(set(seen[60:120])) == list(range(50))
    assert (seen[120], seen[179]) == (0, 47)
    rate, heard = greys.sound(made.path)
    assert (rate, heard.shape[0]) == (48000, 2)
    assert heard.shape[1] == pytest.approx(6 * 48000, abs=1024)  # AAC comes in packets of 1024
    assert greys.pitch(rate, heard[0, 9600:86400]) == pytest.approx(440, rel=0.01)
    assert greys.pitch(rate, heard[0, 105600:182400]) == pytest.approx(1000, rel=0.01)
    assert np.abs(heard[:, 201600:278400]).max() < 1e-3
    assert np.abs(heard[:, 96000 - 480 : 96000 + 480]).max() > 0.05  # no hole at the seam
    assert made.warnings == (
        "Clip 2 (120x90 at 25 frames/s) was conformed to 160x90 at 30 frames/s.",
        "Clip 3 (90x160 at 24 frames/s) was conformed to 160x90 at 30 frames/s.",
        "Clip 3 has no sound, so it is silent.",
    )


def test_ranges_are_half_open(make: Make, tmp_path: Path) -> None:
    """A frame belongs to a segment iff start ≤ its time < end, also far from the file's start and more than once."""
    files = [make("r.mp4", frames=100, tone=600), make("s.mp4", size="64x64", frames=30, tone=600)]
    segments = [
        {"source": 0, "start": "80f", "end": "90f"},
        {"source": 1, "start": "0.31", "end": "0.5"},
        {"source": 0, "start": "2.7", "end": "2.9"},
        {"source": 0, "start": "80f", "end": "90f"},
        {"source": 1},
    ]
    made = join(tmp_path, files, segments)
    _, luma = greys.pictures(made.path)
    expected = [*range(80, 90), *range(10, 15), *range(81, 87), *range(80, 90), *range(30)]
    assert greys.numbers(luma) == expected
    assert made.duration == Fraction(len(expected), 30)
    _, heard = greys.sound(made.path)
    assert heard.shape[1] == pytest.approx(float(made.duration) * 48000, abs=1024)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_far_clip_costs_few_bytes(make: Make, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second out of a long source puts only its packets into the room, whatever the container."""
    noise = "geq=lum='random(1)*255':cb=128:cr=128"
    long = make(f"long.{suffix}", frames=600, tone=440, picture=noise)
    sizes: list[int] = []
    real = process.ffmpeg

    def looking(arguments: list[str], room: Path, **options: Any) -> None:
        sizes.extend(file.stat().st_size for file in room.glob("in*"))
        real(arguments, room, **options)

    monkeypatch.setattr(process, "ffmpeg", looking)
    made = join(tmp_path, [long, make("short.mp4", size="64x64", frames=10)], [{"source": 0, "start": "12", "end": "12.8"}, {"source": 1}])
    assert made.frames == 34
    assert len(sizes) == 2
    assert max(sizes) < long.stat().st_size / 8


def test_sound_and_picture_end_together_after_many(make: Make, tmp_path: Path) -> None:
    """Rounding does not add up: 20 clips of 0.36 s at 25 fps, made into 30 fps, last 7.2 s in picture and sound."""
    files = [make("f.mp4", frames=10, tone=500), make("g.mp4", rate="25", frames=50, tone=500)]
    segments = [{"source": 1, "start": f"{n}f", "end": f"{n + 9}f"} for n in range(20)]
    made = join(tmp_path, files, [{"source": 0, "end": "3f"}, *segments], frame_rate=30)
    assert made.duration == Fraction(73, 10)
    _, heard = greys.sound(made.path)
    assert heard.shape[1] == pytest.approx(7.3 * 48000, abs=1024)


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_many_clips_are_joined_in_parts(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, container: str) -> None:
    """More clips than are opened at once: every frame at its time, and a tone that goes on over the seams without a click."""
    monkeypatch.setattr(conform, "MOST_CLIPS", 3)
    files = [make("t.mp4", frames=100, tone=500), make("u.mp4", size="64x64", frames=10, tone=500)]
    segments = [{"source": 0, "start": f"{n * 10}f", "end": f"{n * 10 + 10}f"} for n in range(8)]
    made = join(tmp_path, files, [*segments, {"source": 1}], container)
    times, luma = greys.pictures(made.path)
    assert greys.numbers(luma) == [*range(80), *range(10)]
    assert [round(time * 1000) for time in times] == [round(Fraction(n * 1000, 30)) for n in range(90)]
    rate, heard = greys.sound(made.path)
    assert heard.shape[1] == pytest.approx(3 * rate, abs=1024)
    assert greys.pitch(rate, heard[0, 4800 : int(2.6 * rate)]) == pytest.approx(500, rel=0.002)
    # a tone of 500 Hz that is cut every third of a second at whole periods has no jump larger than its own slope
    assert np.abs(np.diff(heard[0, 4800 : int(2.6 * rate)])).max() < 0.02


def test_ntsc_rates_stay_exact(make: Make, tmp_path: Path) -> None:
    """At 30000/1001 frames per second every frame has its exact time."""
    made = join(tmp_path, [make("n.mp4", rate="30000/1001", frames=40), make("m.mp4", rate="25", frames=25)])
    times, _ = greys.pictures(made.path)
    assert times == [n * Fraction(1001, 30000) for n in range(70)]


def test_wide_pixels_become_square(make: Make, tmp_path: Path) -> None:
    """80×90 pixels of 2:1 fill a 160×90 picture; a square one between bars keeps its shape."""
    halves = "geq=lum='if(lt(X,W/2),16,235)':cb=128:cr=128"
    files = [
        make("square.mp4", picture=halves, frames=10),
        make("wide.mp4", size="80x90", picture=f"{halves},setsar=2", frames=10),
        make("box.mp4", size="64x64", picture="geq=lum=235:cb=128:cr=128", frames=10),
    ]
    made = join(tmp_path, files)
    _, luma = greys.pictures(made.path)
    for frame in (luma[5], luma[15]):
        assert frame[:, 5:70].max() < 40
        assert frame[:, 90:155].min() > 215
    box = luma[25]
    assert box[:, :33].max() < 40
    assert box[:, -33:].max() < 40
    assert box[5:85, 40:120].min() > 215
    assert made.streams[0].sample_aspect in (None, 1)


def test_rotation_is_applied(make: Make, tmp_path: Path) -> None:
    """A clip that players turn is turned for good: its white top half is shown on its left, and the result turns no further."""
    lying = make("lying.mp4", size="160x96", picture="geq=lum='if(lt(Y,H/2),235,16)':cb=128:cr=128", frames=10)
    turned = lying.with_name("turned.mp4")
    process.ffmpeg(
        ["-nostdin", "-loglevel", "error", "-display_rotation:v:0", "90", "-i", lying.name, "-c", "copy", turned.name], lying.parent
    )
    made = join(tmp_path, [turned, make("upright.mp4", size="96x160", frames=10)])
    _, luma = greys.pictures(made.path)
    assert luma.shape[1:] == (160, 96)
    assert luma[5][10:150, 4:40].min() > 215
    assert luma[5][10:150, 56:92].max() < 40
    assert made.streams[0].rotation == 0
    assert made.warnings[0].startswith("Clip 1 (160x96 at 30 frames/s, turned) was conformed to 96x160")


@pytest.mark.parametrize(("transfer", "white"), [("arib-std-b67", 0.75), ("smpte2084", 0.58)])
def test_hdr_among_others_is_brought_down(make: Make, tmp_path: Path, transfer: str, white: float) -> None:
    """The white of paper in HDR (75 % of HLG, 58 % of PQ: BT.2408) is bright in the result and not blown out, and black stays black."""
    code = round(64 + white * 876)
    halves = f"format=yuv420p10le,geq=lum='if(lt(X,W/2),64,{code})':cb=512:cr=512"
    tags = f"setparams=color_primaries=bt2020:color_trc={transfer}:colorspace=bt2020nc:range=tv"
    hdr = make("hdr.mp4", frames=10, picture=f"{halves},{tags}", extra=("-pix_fmt", "yuv420p10le"))
    made = join(tmp_path, [make("sdr.mp4", frames=10), hdr])
    _, luma = greys.pictures(made.path)
    assert luma[15][:, 5:70].max() < 10
    assert 150 < luma[15][:, 90:155].mean() < 250
    assert (made.streams[0].color_transfer, made.streams[0].pixel_format) == (1, "yuv420p")
    assert made.warnings == ("Clip 2 (160x90 at 30 frames/s, HDR) was conformed to 160x90 at 30 frames/s, standard brightness.",)


def test_late_sound_stays_late(make: Make, tmp_path: Path) -> None:
    """Sound that begins 0.5 s after the picture still does after joining."""
    plain = make("p.mp4", frames=60, tone=800)
    late = plain.with_name("late.mkv")
    process.ffmpeg(["-nostdin", "-loglevel", "error", "-i", "p.mp4", "-itsoffset", "0.5", "-i", "p.mp4",
                    "-map", "0:v", "-map", "1:a", "-c", "copy", late.name], plain.parent)  # fmt: skip
    made = join(tmp_path, [make("q.mp4", size="64x64", frames=30, tone=300), late])
    rate, heard = greys.sound(made.path)
    second = heard[0, rate:]
    assert np.abs(second[: int(0.45 * rate)]).max() < 0.01
    assert greys.pitch(rate, second[int(0.6 * rate) : int(1.6 * rate)]) == pytest.approx(800, rel=0.01)
    # the sound ends half a second after the picture: nothing of it is lost, and the last picture stays
    assert made.duration == Fraction(35, 10)


@pytest.mark.parametrize(("container", "codecs"), [("mov", ["h264", "aac"]), ("mkv", ["h264", "aac"]), ("webm", ["vp9", "opus"])])
def test_containers(make: Make, tmp_path: Path, container: str, codecs: list[str]) -> None:
    """Each container gets codecs that belong into it, with every frame."""
    made = join(tmp_path, [make("x.mp4", frames=12, tone=440), make("y.mp4", size="64x64", frames=12)], container=container)
    assert [stream.codec for stream in made.streams] == codecs
    assert len(greys.pictures(made.path)[0]) == 24


def test_picture_with_sound_only(make: Make, tmp_path: Path) -> None:
    """A source without a picture is heard over black for as long as it sounds."""
    clip = make("v.mp4", frames=30, tone=440)
    process.ffmpeg(
        ["-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", "sine=f=700:r=48000:d=1", "-c:a", "aac", "only.m4a"], clip.parent
    )
    made = join(tmp_path, [clip, clip.with_name("only.m4a")])
    _, luma = greys.pictures(made.path)
    rate, heard = greys.sound(made.path)
    assert (made.frames, luma[45].max()) == (60, 0)
    assert greys.pitch(rate, heard[0, int(1.1 * rate) : int(1.9 * rate)]) == pytest.approx(700, rel=0.01)


def test_empty_range_is_refused(make: Make, tmp_path: Path) -> None:
    """A range between two frames holds none: the whole job is refused, naming the clip."""
    with pytest.raises(errors.Problem) as caught:
        join(tmp_path, [make("e.mp4"), make("e2.mp4", size="64x64")], [{"source": 0}, {"source": 1, "start": "0.034", "end": "0.05"}])
    assert caught.value.code == "range_empty"
    assert "clip 2" in caught.value.detail


def test_damage_is_no_short_success(make: Make, tmp_path: Path) -> None:
    """A clip whose middle is overwritten refuses the job instead of leaving pictures out."""
    good = make("d.mp4", frames=60, tone=440, picture="geq=lum='16+2*N+20*random(1)':cb=128:cr=128")
    bad = good.with_name("damaged.mp4")
    data = bytearray(good.read_bytes())
    data[len(data) // 3 : len(data) // 2] = b"\xff" * (len(data) // 2 - len(data) // 3)
    bad.write_bytes(data)
    with pytest.raises(errors.Problem) as caught:
        join(tmp_path, [make("ok.mp4", size="64x64"), bad])
    assert caught.value.code in {"source_unreadable", "verify_failed"}
