"""Merges of clips that differ: most of it is copied, only the odd clips are conformed, and every frame and tone is where it belongs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from native.media import conform, engine, nal, process, verify
from native.media.edit import Edit
from native.media.made import Made
from native.media.source import FileSource
from tests import clips
from tests.media import greys, looking

Make = Callable[..., Path]
HALVES = "geq=lum='if(lt(X,W/2),16,235)':cb=128:cr=128"


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    return partial(greys.make, tmp_path_factory.mktemp("clips"))


def merge(room: Path, files: list[Path], segments: list[dict[str, Any]] | None = None, mode: str = "exact", **output: object) -> Made:
    """The files one after another, or segments of them, checked as every job's result is."""
    room.mkdir(exist_ok=True)
    asked = Edit.model_validate({"segments": segments or [{"source": n} for n in range(len(files))], "mode": mode, "output": output})
    told: list[tuple[int, int]] = []
    made = engine.render(asked, [FileSource(file) for file in files], room, lambda frames, total: told.append((frames, total)))
    verify.verify(made, asked)
    assert told == sorted(told)
    assert told[-1] == (made.frames, made.frames)
    assert [entry.name for entry in room.iterdir()] == [made.path.name]
    looking.strictly_decodes(made.path)
    return made


def counts(made: Made) -> tuple[int, int, int]:
    return made.frames, made.copied_frames, made.encoded_frames


def digests(path: Path) -> list[str]:
    """A hash of every picture shown."""
    with av.open(str(path)) as file:
        return [hashlib.sha256(frame.to_ndarray().tobytes()).hexdigest() for frame in file.decode(video=0)]


def parameter_sets(path: Path) -> int:
    """Sequence parameter sets of an H.264 output, in its header and among its packets."""
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        config = nal.config(bytes(stream.codec_context.extradata or b""))
        assert config is not None
        inside = sum(nal.SPS in nal.kinds(bytes(packet), config.width) for packet in file.demux(stream) if packet.size)
    return len(config.sps) + inside


def test_only_the_odd_clip_is_encoded(make: Make, tmp_path: Path) -> None:
    """30 fps stereo 48 kHz + 25 fps mono 44.1 kHz of another size + the first again: two thirds are copied bit for bit, under one
    parameter set, and every tone keeps its pitch."""
    one = make("one.mp4", tone=440)
    odd = make("odd.mp4", size="120x90", rate="25", frames=50, tone=880, hz=44100, channels=1)
    made = merge(tmp_path / "room", [one, odd], [{"source": 0}, {"source": 1}, {"source": 0}])
    assert counts(made) == (180, 120, 60)
    times, luma = greys.pictures(made.path)
    assert times == [Fraction(n, 30) for n in range(180)]
    seen = greys.numbers(luma)
    assert seen[:60] == seen[120:] == list(range(60))
    for n, number in enumerate(seen[60:120]):
        assert abs(number - Fraction(n * 25, 30)) <= Fraction(2, 3)
    own, shown = digests(one), digests(made.path)
    assert shown[:60] == shown[120:] == own
    assert parameter_sets(made.path) == 1
    rate, heard = greys.sound(made.path)
    assert heard.shape == (2, pytest.approx(6 * rate, abs=1024))
    for start, tone in ((0, 440), (2, 880), (4, 440)):
        assert greys.pitch(rate, heard[0, int((start + 0.1) * rate) : int((start + 1.9) * rate)]) == pytest.approx(tone, rel=0.002)
    assert made.warnings == ("Clip 2 (120x90 at 25 frames/s) was conformed to 160x90 at 30 frames/s.",)


def test_most_of_the_picture_decides(make: Make, tmp_path: Path) -> None:
    """A short first clip is the odd one; of equals the first is the measure."""
    first, rest = make("short.mp4", size="128x72", frames=12), make("rest.mp4", frames=60)
    made = merge(tmp_path / "most", [first, rest], [{"source": 0}, {"source": 1}])
    assert counts(made) == (72, 60, 12)
    assert made.streams[0].width == 160
    assert digests(made.path)[12:] == digests(rest)
    faster = make("faster.mp4", rate="60", frames=60)
    made = merge(tmp_path / "equal", [faster, rest])
    assert counts(made) == (180, 60, 120)
    assert digests(made.path)[:60] == digests(faster)


def test_what_the_request_says_is_the_measure(make: Make, tmp_path: Path) -> None:
    """The size that is asked for makes the smaller part the target; a size that no clip has makes all of it anew."""
    small, large = make("small.mp4", size="128x72", frames=30), make("large.mp4", frames=60)
    made = merge(tmp_path / "small", [small, large], width=128)
    assert counts(made) == (90, 30, 60)
    assert digests(made.path)[:30] == digests(small)
    made = merge(tmp_path / "other", [small, large], width=96, frame_rate=15)
    assert counts(made) == (45, 0, 45)
    assert (made.streams[0].width, made.streams[0].height, made.streams[0].frame_rate) == (96, 54, 15)
    made = merge(tmp_path / "one", [large], [{"source": 0, "start": "0.5", "end": "1.5"}], codec="hevc")
    assert (counts(made), made.streams[0].codec) == ((30, 0, 30), "hevc")


def beat(make: Make, name: str, size: str, rate: int) -> Path:
    """A white flash and a beep together, 0.2 s into every 0.4 s."""
    every = rate * 2 // 5
    picture = f"geq=lum='if(between(mod(N,{every}),{every // 2},{every // 2 + 1}),235,16)':cb=128:cr=128"
    clip = make(f"silent_{name}", size=size, rate=f"{rate}", frames=rate * 4, picture=picture)
    beep = "aevalsrc='if(gte(mod(t,0.4),0.2)*lt(mod(t,0.4),0.26),sin(2*PI*1000*t),0)':s=48000:d=4"
    process.ffmpeg(["-nostdin", "-loglevel", "error", "-i", clip.name, "-f", "lavfi", "-i", beep, "-c:v", "copy", "-c:a", "aac", name],
                   clip.parent)  # fmt: skip
    return clip.with_name(name)


def test_sync_holds_at_the_fiftieth_segment(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty clips of 0.4 s, each second one conformed: 20 s to the frame, and flash and beep are still together in the last ones."""
    monkeypatch.setattr(conform, "MOST_CLIPS", 4)
    files = [beat(make, "thirty.mp4", "160x90", 30), beat(make, "twentyfive.mp4", "120x68", 25)]
    ranges = [(Fraction(2 * (n // 2 % 10), 5), Fraction(2 * (n // 2 % 10) + 2, 5)) for n in range(50)]
    segments = [{"source": n % 2, "start": f"{start}", "end": f"{end}"} for n, (start, end) in enumerate(ranges)]
    made = merge(tmp_path / "room", files, segments)
    assert counts(made)[0] == 600
    assert made.encoded_frames - 300 <= 50  # what is encoded at the cuts of the copied ones
    assert made.duration == 20
    times, luma = greys.pictures(made.path)
    assert times == [Fraction(n, 30) for n in range(600)]
    rate, heard = greys.sound(made.path)
    white = luma.mean(axis=(1, 2)) > 128
    for segment in (0, 1, 24, 25, 48, 49):
        begin = segment * 12
        flash = times[begin + int(np.argmax(white[begin : begin + 12]))]
        loud = np.abs(heard[0, segment * rate * 2 // 5 : (segment + 1) * rate * 2 // 5]) > 0.3
        onset = Fraction(segment * 2, 5) + Fraction(int(np.argmax(loud)), rate)
        assert abs(flash - onset) <= (Fraction(1, 500) if segment % 2 == 0 else Fraction(1, 60))


def test_silence_and_black(make: Make, tmp_path: Path) -> None:
    """A clip without sound is silent, one without a picture is black, and sound that outlasts its picture is heard to its end while the
    last picture stays."""
    plain, mute = make("plain.mp4", frames=60, tone=440), make("mute.mp4", size="120x90", frames=30)
    outlasting = make("outlasting.mp4", frames=30, tone=660, seconds=2)
    process.ffmpeg(["-nostdin", "-y", "-loglevel", "error", "-f", "lavfi", "-i", "sine=f=700:r=48000:d=1", "-c:a", "aac", "alone.m4a"],
                   plain.parent)  # fmt: skip
    made = merge(tmp_path / "room", [plain, mute, plain.with_name("alone.m4a"), outlasting, plain])
    assert made.copied_frames == 60 + 30 + 60
    times, luma = greys.pictures(made.path)
    assert made.duration == 2 + 1 + 1 + 2 + 2
    assert luma[95].max() == 0
    numbers = greys.numbers(luma)
    assert numbers[60:90] == list(range(30))
    assert numbers[120:150] == list(range(30))
    assert times[150] - times[149] == 1 + Fraction(1, 30)
    rate, heard = greys.sound(made.path)
    assert np.abs(heard[0, int(2.1 * rate) : int(2.9 * rate)]).max() < 1e-3
    for start, end, tone in ((0.1, 1.9, 440), (3.1, 3.9, 700), (4.1, 5.9, 660), (6.1, 7.9, 440)):
        assert greys.pitch(rate, heard[0, int(start * rate) : int(end * rate)]) == pytest.approx(tone, rel=0.005)
    assert "Clip 3 (no picture) was given a black one." in made.warnings
    assert "Clip 2 has no sound, so it is silent." in made.warnings


def test_what_is_turned_stays_turned(make: Make, tmp_path: Path) -> None:
    """Most of the picture is stored lying and shown upright; an upright clip is laid down beside it, so that players show both upright."""
    lying = make("lying.mp4", size="160x96", frames=60, picture="geq=lum='if(lt(Y,H/2),235,16)':cb=128:cr=128")
    turned = lying.with_name("turned.mp4")
    process.ffmpeg(["-nostdin", "-y", "-loglevel", "error", "-display_rotation:v:0", "90", "-i", lying.name, "-c", "copy", turned.name],
                   lying.parent)  # fmt: skip
    # shown, the lying one is white on its left
    upright = make("upright.mp4", size="96x160", frames=20, picture=HALVES.replace("16,235", "235,16"))
    made = merge(tmp_path / "room", [turned, upright])
    assert counts(made) == (80, 60, 20)
    assert made.streams[0].rotation == 270
    _, luma = greys.pictures(made.path)
    for frame in (luma[5], luma[70]):
        assert frame.shape == (96, 160)
        assert frame[4:40].min() > 215
        assert frame[56:92].max() < 40


def test_wide_pixels_stay_wide(make: Make, tmp_path: Path) -> None:
    """A clip of square pixels is made to fit pixels of 2:1, and keeps its shape when it is shown."""
    wide = make("wide.mp4", size="80x90", frames=60, picture=f"{HALVES},setsar=2")
    square, box = make("square.mp4", frames=10, picture=HALVES), make("box.mp4", size="64x64", frames=10)
    made = merge(tmp_path / "room", [wide, square, box])
    assert counts(made) == (80, 60, 20)
    assert made.streams[0].sample_aspect == 2
    _, luma = greys.pictures(made.path)
    for frame in (luma[5], luma[65]):
        assert frame[:, 2:36].max() < 40
        assert frame[:, 44:78].min() > 215
    # 64×64 becomes 90×90 square pixels, which are 45 wide ones between bars of 17
    assert luma[75][:, :15].max() == 0
    assert luma[75][:, -15:].max() == 0


def varying(make: Make, name: str, **how: Any) -> Path:
    """A clip whose frames last 1/30 or 2/30 of a second."""
    even = make(f"even_{name}", frames=60, **how)
    skipping = ["-vf", "select='mod(n*7,11)-3'", "-fps_mode", "passthrough", "-c:v", "libx264", "-qp", "4", "-preset", "ultrafast"]
    process.ffmpeg(["-nostdin", "-y", "-loglevel", "error", "-i", even.name, *skipping, "-c:a", "copy", name], even.parent)
    return even.with_name(name)


def test_varying_frame_rates(make: Make, tmp_path: Path) -> None:
    """Frames that come as they like are copied with their own times, and so is a steady clip after them; among mostly steady ones they are
    brought to the grid, each shown where it was."""
    free, steady, small = varying(make, "free.mp4"), make("steady.mp4", frames=30), make("little.mp4", size="96x54", frames=15)
    own = greys.pictures(free)[0]
    made = merge(tmp_path / "free", [free, steady, small])
    assert counts(made) == (len(own) + 30 + 15, len(own) + 30, 15)
    times, _ = greys.pictures(made.path)
    assert times[: len(own)] == [time - own[0] for time in own]
    made = merge(tmp_path / "steady", [make("long.mp4", frames=120), free])
    assert counts(made) == (180, 120, 60)
    times, luma = greys.pictures(made.path)
    assert times == [Fraction(n, 30) for n in range(180)]
    shown = greys.numbers(greys.pictures(free)[1])
    held = [max(number for number, time in zip(shown, own, strict=True) if time - own[0] <= Fraction(n, 30)) for n in range(60)]
    assert greys.numbers(luma)[120:] == held


@pytest.mark.parametrize(("transfer", "white"), [("smpte2084", 0.58), ("arib-std-b67", 0.75)])
def test_hdr_and_standard_brightness(make: Make, tmp_path: Path, transfer: str, white: float) -> None:
    """The white of paper is 58 % of PQ and 75 % of HLG (BT.2408): it becomes bright among standard clips, and standard white becomes it."""
    code = round(64 + white * 876)
    tags = f"setparams=color_primaries=bt2020:color_trc={transfer}:colorspace=bt2020nc:range=tv"
    deep = ("-pix_fmt", "yuv420p10le")
    halves = f"format=yuv420p10le,geq=lum='if(lt(X,W/2),64,{code})':cb=512:cr=512,{tags}"
    hdr = make(f"hdr_{transfer}.mp4", frames=30, picture=halves, extra=deep)
    plain = make("bright.mp4", frames=30, picture=HALVES)
    made = merge(tmp_path / "plain", [plain, hdr], [{"source": 0}, {"source": 1, "end": "0.5"}])
    assert counts(made) == (45, 30, 15)
    _, luma = greys.pictures(made.path)
    assert luma[40][:, 5:70].max() < 10
    assert 150 < luma[40][:, 90:155].mean() < 250
    made = merge(tmp_path / "hdr", [hdr, plain], [{"source": 0}, {"source": 1, "end": "0.5"}])
    assert counts(made) == (45, 30, 15)
    assert made.streams[0].color_transfer == {"smpte2084": 16, "arib-std-b67": 18}[transfer]
    with av.open(str(made.path)) as file:
        last = list(file.decode(video=0))[-1].to_ndarray(format="yuv420p10le")[:90].astype(int)
    assert last[:, 5:70].max() < 80
    assert last[:, 90:155].mean() == pytest.approx(code, abs=25)
    assert any("standard brightness) was conformed" in warning for warning in made.warnings)


def test_other_codecs_and_interlaced_ones(make: Make, tmp_path: Path) -> None:
    """HEVC, MPEG-2 in a transport stream and interlaced H.264 become part of H.264."""
    main = make("main.mp4", frames=100, tone=440)
    hevc = make("h.mp4", frames=20, tone=500, extra=("-c:v", "libx265", "-x265-params", "log-level=error", "-tag:v", "hvc1"))
    mpeg = make("m.ts", frames=20, tone=600, extra=("-c:v", "mpeg2video", "-qscale:v", "2", "-bf", "2", "-c:a", "mp2"))
    fields = make("fields.mp4", size="160x96", frames=20, extra=("-x264-params", "tff=1"), picture=f"{greys.GREY},setfield=tff")
    made = merge(tmp_path / "room", [main, hevc, mpeg, fields])
    assert counts(made) == (160, 100, 60)
    _, luma = greys.pictures(made.path)
    assert greys.numbers(luma) == [*range(100), *range(20), *range(20), *range(20)]
    assert parameter_sets(made.path) == 1
    said = " ".join(made.warnings)
    assert "Clip 2 (160x90 at 30 frames/s, HEVC) was conformed to 160x90 at 30 frames/s, H.264." in said
    assert "interlaced) was conformed" in said


def test_what_occurs_twice_is_made_once(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overlapping and repeated ranges of one odd source: every range is there each time, and each was decoded once, in one run."""
    base, odd = make("base.mp4", frames=100, tone=440), make("other.mp4", size="120x90", frames=60, tone=500)
    runs: list[list[str]] = []
    real = process.ffmpeg
    monkeypatch.setattr(process, "ffmpeg", lambda arguments, *rest, **more: (runs.append(arguments), real(arguments, *rest, **more)))
    a, b = {"source": 1, "start": "0.5", "end": "1"}, {"source": 1, "start": "0.8", "end": "1.5"}
    made = merge(tmp_path / "room", [base, odd], [a, {"source": 0}, a, b, {"source": 0, "start": "1", "end": "2"}, a, b])
    _, luma = greys.pictures(made.path)
    first, second = list(range(15, 30)), list(range(24, 45))
    assert greys.numbers(luma) == [*first, *range(100), *first, *second, *range(30, 60), *first, *second]
    assert len(runs) == 1
    assert runs[0].count("-i") == 2


def test_when_copying_fails_all_is_encoded(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge that does not pass its checks is made once more, all of it anew, and says why."""
    files = [make("u.mp4", frames=30, tone=440), make("w.mp4", size="64x64", frames=10)]
    real, checked = verify.check, []

    def strict(path: Path, promise: Any, container: str) -> Any:
        checked.append(promise.copied)
        if promise.copied:
            raise engine.errors.VERIFY_FAILED()
        return real(path, promise, container)

    monkeypatch.setattr(verify, "check", strict)
    made = merge(tmp_path / "room", files)
    assert checked == [30, 0]
    assert counts(made) == (40, 0, 40)
    assert any("did not pass its checks" in warning for warning in made.warnings)


@pytest.mark.parametrize("container", ["mov", "mkv", "webm"])
def test_containers(make: Make, tmp_path: Path, container: str) -> None:
    """Copies are joined with conformed clips in every container: H.264, and VP9 in WebM."""
    web = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "2M", "-c:a", "libopus")
    extra, suffix = (web, "webm") if container == "webm" else ((), "mp4")
    files = [make(f"n.{suffix}", frames=60, tone=440, extra=extra), make("p.mp4", size="64x64", frames=12, tone=500)]
    made = merge(tmp_path / "room", files, container=container)
    assert counts(made) == (72, 60, 12)
    assert [stream.codec for stream in made.streams] == (["vp9", "opus"] if container == "webm" else ["h264", "aac"])
    assert digests(made.path)[:60] == digests(files[0])


@pytest.mark.parametrize("b_frames", [0, 2])
def test_a_clip_without_times_is_cut_at_the_very_frame(b_frames: int, tmp_path: Path) -> None:
    """AVI does not say in which order frames are shown, and one tick of its clock is a whole frame: what comes out of the decoder n-th is
    the n-th one, in a merge as in a trim, and the result says why it was encoded."""
    alike = clips.make(clips.H264["gop30"], tmp_path)
    video = clips.x264(f"keyint=48:min-keyint=48:scenecut=0:bframes={b_frames}")
    timeless = clips.make(clips.Recipe(f"timeless{b_frames}", video, ("-c:a", "mp3"), suffix=".avi"), tmp_path)
    asked = [{"source": 0, "end": "1"}, {"source": 1, "start": "1.5", "end": "3"}]
    made = merge(tmp_path / "room", [alike, timeless], asked)
    alone = merge(tmp_path / "alone", [timeless], [{"start": "1.5", "end": "3"}])
    shown = [f.number for f in looking.frames(alone.path)]
    if not b_frames:  # else libavformat only guesses
        assert shown == [f.number for f in looking.frames(timeless) if Fraction(3, 2) <= f.time < 3]
    assert [f.number for f in looking.frames(made.path)] == [*range(30), *shown]
    assert any("Clip 2" in said and "AVI does not say" in said for said in made.warnings)
    assert made.copied_frames == 30


def test_the_rate_that_is_asked_for_is_made(make: Make, tmp_path: Path) -> None:
    """Clips of 30 frames a second may follow those of 29.97, but are not what somebody has who asks for 29.97."""
    made = merge(tmp_path / "room", [make("one.mp4")], frame_rate="29.97")
    assert made.streams[0].frame_rate == Fraction(30000, 1001)
    assert made.copied_frames == 0
