"""Sound: to the sample where it can be, to the millisecond everywhere, whatever the sources bring along."""

from __future__ import annotations

import struct
import threading
from array import array
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from native.media import beside, forms, index, samples, source, stretches
from native.media.samples import Fades, Shape
from tests import clips
from tests.media import looking
from tests.media.cutting import render, wanted

GOP = clips.x264("keyint=30:min-keyint=30:scenecut=0")
NO_FADES = Fades(first=False, last=False)


def sound_recipe(name: str, *audio: str, suffix: str = ".mp4", rate: int = 48000, channels: int = 1, seconds: float = 6) -> clips.Recipe:
    return clips.Recipe(name, GOP, audio, suffix=suffix, sample_rate=rate, channels=channels, seconds=seconds)


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_fifty_segments_stay_in_step(container: str, folder: Path, tmp_path: Path) -> None:
    """At the first, the 25th and the 50th segment the sound lies within a millisecond of its picture, without a trend."""
    clip = clips.make(clips.H264["ntsc"], folder)
    starts = [Fraction(n % 25 * 2, 10) + Fraction(n, 1000) for n in range(50)]
    made = render([clip], tmp_path, *({"start": str(s), "end": str(s + Fraction(1, 3))} for s in starts), container=container)
    shown, at, lags = looking.frames(clip), Fraction(0), []
    for n, start in enumerate(starts):
        part = wanted(shown, start, start + Fraction(1, 3))
        if n in (0, 24, 49):
            lags.append(looking.lag(clip, made.path, part[0].time - at, at + Fraction(1, 10)))
        at += len(part) * Fraction(1001, 30000)
    assert all(abs(lag) <= 48 for lag in lags)
    assert max(lags) - min(lags) <= 8
    first, rate, heard = looking.samples(made.path)
    assert abs(first + Fraction(len(heard), rate) - at) < Fraction(1024, rate)


def test_segments_that_the_source_joins_itself_are_copied(folder: Path, tmp_path: Path) -> None:
    """Two ranges that follow each other in their source keep its own packets, bit for bit."""
    clip = clips.make(clips.H264["gop30"], folder)
    made = render([clip], tmp_path, {"start": "1", "end": "2"}, {"start": "2", "end": "3.5"})
    assert packets_of(made.path) <= packets_of(clip)


def packets_of(path: Path) -> set[bytes]:
    with av.open(str(path)) as container:
        return {bytes(p) for p in container.demux(audio=0) if p.size}


@pytest.mark.parametrize(
    ("codec", "suffix", "container"),
    [("pcm_s16le", ".mov", "mov"), ("pcm_s24le", ".mkv", "mkv"), ("flac", ".mkv", "mkv"), ("flac", ".mp4", "mp4"), ("alac", ".mov", "mov")],
)
def test_lossless_sound_loses_nothing_over_joins(codec: str, suffix: str, container: str, folder: Path, tmp_path: Path) -> None:
    """Every sample of every segment is the source's own, at its place, but for three milliseconds at a join of foreign sounds."""
    clip = clips.make(sound_recipe(f"lossless_{codec}", "-c:a", codec, suffix=suffix, channels=2), folder)
    segments = [(Fraction(3), Fraction(7, 2)), (Fraction(3, 2), Fraction(2))]
    made = render([clip], tmp_path, *({"start": str(a), "end": str(b)} for a, b in segments), container=container)
    assert [s.codec for s in made.streams if s.kind == "audio"] == [codec]
    (_, rate, before), (_, _, after) = looking.samples(clip), looking.samples(made.path)
    assert len(after) == rate
    half, fade = rate // 2, int(samples.FADE_SECONDS * rate)
    for n, (start, _) in enumerate(segments):
        own, theirs = after[n * half : (n + 1) * half], before[int(start * rate) : int(start * rate) + half]
        assert own[fade:-fade] == theirs[fade:-fade]
    assert after[:fade] == before[3 * rate : 3 * rate + fade]  # nothing foreign meets it there


@pytest.mark.parametrize(
    ("codec", "suffix", "container", "expected"),
    [
        (("aac", "-b:a", "160k"), ".mp4", "mp4", "aac"),
        (("ac3", "-b:a", "448k"), ".mkv", "mkv", "ac3"),
        (("libopus", "-b:a", "160k"), ".mkv", "mkv", "opus"),
        (("mp2", "-b:a", "256k"), ".ts", "ts", "mp2"),
        (("libmp3lame", "-b:a", "192k"), ".mkv", "mp4", "aac"),
        (("libopus", "-b:a", "96k"), ".mkv", "webm", "opus"),
    ],
)
def test_encoded_sound_is_no_poorer(
    codec: tuple[str, ...], suffix: str, container: str, expected: str, folder: Path, tmp_path: Path
) -> None:
    """Joined sound keeps codec, rate and channels where it can, has at least the source's bits, and lies where it belongs."""
    clip = clips.make(sound_recipe(f"kept_{codec[0]}", "-c:a", *codec, suffix=suffix, channels=2), folder)
    track = index.build(source.Blocks(source.FileSource(clip))).audio[0]
    form = forms.form([(track, Fraction(1))], container)
    assert (form.codec, form.shape.rate, form.channels) == (expected, 48000, 2)
    assert form.bit_rate is not None
    assert form.bit_rate >= int(codec[2][:-1]) * 1000
    made = render([clip], tmp_path, {"start": "3", "end": "4"}, {"start": "1", "end": "2"}, container=container)
    assert next(s.codec for s in made.streams if s.kind == "audio") == expected
    shown, at = looking.frames(clip), Fraction(0)
    for start in (Fraction(3), Fraction(1)):
        part = wanted(shown, start, start + 1)
        assert abs(looking.lag(clip, made.path, part[0].time - at, at + Fraction(1, 2))) <= 48
        at += Fraction(len(part), 30)


def test_most_of_the_sound_decides(folder: Path) -> None:
    """Rate and channels are those that are heard longest."""
    tracks = [
        index.build(source.Blocks(source.FileSource(clips.make(recipe, folder)))).audio[0]
        for recipe in (sound_recipe("stereo48", "-c:a", "aac", channels=2), sound_recipe("mono44100", "-c:a", "aac", rate=44100))
    ]
    first, second = (forms.form(list(zip(tracks, lengths, strict=True)), "mp4") for lengths in ((3, 2), (2, 3)))
    assert (first.shape.rate, first.shape.layout) == (48000, "stereo")
    assert (second.shape.rate, second.shape.layout) == (44100, "mono")


def test_different_rates_and_layouts_keep_pitch_and_place(folder: Path, tmp_path: Path) -> None:
    """A tone of 44.1 kHz between two of 48 kHz has its own pitch, and every stretch begins where its picture does."""
    one = clips.make(clips.H264["gop30"], folder)
    other = clips.make(sound_recipe("mono44100", "-c:a", "aac", rate=44100), folder)
    segments = [{"source": 0, "end": "1"}, {"source": 1, "start": "2", "end": "3"}, {"source": 0, "start": "4", "end": "5"}]
    made = render([one, other], tmp_path, *segments)
    heard = samples_at(made.path, Fraction(6, 5), Fraction(1, 4))
    # the recipe's tone rises: 200 + 120 t Hz
    assert abs(pitch(heard) - (200 + 120 * 2.325)) < 8
    assert abs(looking.lag(one, made.path, Fraction(2), Fraction(5, 2))) <= 48


def samples_at(path: Path, begin: Fraction, length: Fraction) -> np.ndarray:
    first, rate, heard = looking.samples(path)
    at = round((begin - first) * rate)
    return np.array(heard[at : at + round(length * rate)])


def pitch(heard: np.ndarray, rate: int = 48000) -> float:
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard)), 1 << 18))
    return float(np.argmax(spectrum) * rate / (1 << 18))


@pytest.mark.parametrize("seconds", [3.0, 9.0])
def test_sound_shorter_and_longer_than_the_picture(seconds: float, folder: Path, tmp_path: Path) -> None:
    """What the source lacks is silence, what it has too much is cut, and the next segment begins where it should."""
    plain, clip = clips.make(clips.H264["gop30"], folder), folder / f"sound_{seconds:g}.mp4"
    if not clip.exists():
        clips.ffmpeg("-i", str(plain), "-f", "lavfi", "-i", f"sine=440:r=48000:d={seconds}", "-map", "0:v", "-map", "1", "-c:v", "copy",
                     "-c:a", "aac", str(clip))  # fmt: skip
    made = render([clip, plain], tmp_path, {"source": 0, "start": "2", "end": "6"}, {"source": 1, "start": "1", "end": "2"})
    assert abs(looking.lag(plain, made.path, Fraction(1) - Fraction(4), Fraction(43, 10))) <= 48
    late = samples_at(made.path, Fraction(2), Fraction(1))
    assert (np.abs(late).max() > 0.05) == (seconds > 6)


@pytest.mark.parametrize("kind", ["aac", "opus"])
def test_damaged_packets_are_a_moment_of_silence(kind: str, folder: Path, tmp_path: Path) -> None:
    """Sound after a packet that does not decode, or that the demuxer leaves out, is where it was."""
    codec = {"aac": "aac", "opus": "libopus"}[kind]
    clip = clips.make(sound_recipe(f"hole_{kind}", "-c:a", codec, suffix=".mkv"), folder)
    whole = index.build(source.Blocks(source.FileSource(clip)))
    track, shape = whole.audio[0], Shape(48000, "mono", "fltp")
    stretch = stretches.Stretch(0, whole, whole.start + 1, Fraction(2), Fraction(0))
    good = heard(stretch, track, shape)
    broken = tmp_path / clip.name
    data = bytearray(clip.read_bytes())
    with av.open(str(clip)) as container:
        victim = next(bytes(p) for p in container.demux(audio=0) if p.size and p.pts * p.time_base >= 2)
    at = data.find(victim)
    # AAC: an element that does not exist; Opus: a count of frames that cannot be
    data[at : at + len(victim)] = (b"\xe0" if kind == "aac" else b"\xff\xff") + bytes(len(victim) - (1 if kind == "aac" else 2))
    broken.write_bytes(data)
    other = index.build(source.Blocks(source.FileSource(broken)))
    bad = heard(stretches.Stretch(0, other, other.start + 1, Fraction(2), Fraction(0)), other.audio[0], shape)
    assert len(bad) == len(good) == 96000
    assert np.array_equal(bad[:40000], good[:40000])
    assert not np.array_equal(bad, good)
    # Matroska rounds to milliseconds, so after a hole the place is known to half of one
    off = min(range(-24, 25), key=lambda d: np.abs(bad[60000 + d : 90000 + d] - good[60000:90000]).max())
    assert np.abs(bad[60000 + off : 90000 + off] - good[60000:90000]).max() < 1e-3


def heard(stretch: stretches.Stretch, track: index.Track, shape: Shape) -> np.ndarray:
    count = int(stretch.length * shape.rate)
    return np.concatenate([f.to_ndarray()[0] for f in samples.exactly(stretch, track, count, shape, NO_FADES)])


def test_joins_of_foreign_sounds_do_not_click(folder: Path, tmp_path: Path) -> None:
    """At a join there is no step larger than the sounds' own, and no gap longer than the fades."""
    clip = clips.make(sound_recipe("tone", "-c:a", "pcm_s16le", suffix=".mov"), folder)
    made = render([clip], tmp_path, {"start": "0.6", "end": "0.9"}, {"start": "2.7", "end": "2.9"}, container="mov")
    around = samples_at(made.path, Fraction(29, 100), Fraction(2, 100))
    assert max(abs(a - b) for a, b in pairwise(around)) < 0.05
    quiet = np.abs(around) < 0.01
    longest = max((len(run) for run in "".join("x" if q else " " for q in quiet).split()), default=0)
    assert longest < 2 * samples.FADE_SECONDS * 48000


@pytest.mark.parametrize("name", ["matroska", "gop30", "ntsc"])
def test_matroska_leaves_out_what_the_decoder_needs_first(name: str, folder: Path, tmp_path: Path) -> None:
    """Sound copied into Matroska begins with a packet that players decode and do not play: what is heard is whole."""
    clip = clips.make(clips.H264[name], folder)
    made = render([clip], tmp_path, {"start": "0.7", "end": "2.4"}, container="mkv")
    first, _, heard = looking.samples(made.path)
    assert 0 <= first < Fraction(22, 1000)
    begin = wanted(looking.frames(clip), Fraction(7, 10), None)[0].time
    a0, rate, own = looking.samples(clip)
    there = round((begin + first - a0) * rate) - looking.lag(clip, made.path, begin, Fraction(1))
    assert max(abs(x - y) for x, y in zip(heard[:600], own[there : there + 600], strict=True)) < 1e-3


def test_work_beside_keeps_order_and_errors() -> None:
    """Results come in their order, an error comes after them, and what nobody wants any more is not made."""
    made: list[int] = []

    def work(end: int) -> Iterator[int]:
        for n in range(end):
            made.append(n)
            yield n
        raise KeyError(end)

    results = beside.of(work(500))
    assert [next(results) for _ in range(500)] == list(range(500))
    with pytest.raises(KeyError):
        next(results)
    made.clear()
    wanted_few = beside.of(work(100_000))
    assert [next(wanted_few), next(wanted_few)] == [0, 1]
    wanted_few.close()  # type: ignore[attr-defined]  # a generator
    for thread in threading.enumerate():
        if thread.name == "beside":
            thread.join(10)
    assert len(made) < 1000


def test_samples_of_every_kind_are_cut_and_faded() -> None:
    """The fade is linear from nothing, on planes and on interleaved samples, whole or floating."""
    for kind, code in (("flt", "f"), ("fltp", "f"), ("s16", "h"), ("s32p", "i")):
        frame = av.AudioFrame(format=kind, layout="stereo", samples=1000)
        frame.sample_rate = 48000
        for plane in frame.planes:
            plane.update(array(code, [1000] * (plane.buffer_size // struct.calcsize(code))).tobytes())
        faded = samples._faded(frame, 0, 100_000, Fades(first=True, last=False))
        values = array(code, bytes(faded.planes[0]))
        step = 1 if frame.format.is_planar else 2
        assert [values[n * step] for n in (0, 72, 143, 144, 999)] == pytest.approx([0, 500, 993, 1000, 1000], abs=1)
