"""What an exact output has to be, judged by libavformat, FFmpeg and openh264 and by nothing that the engine says of itself.

Each gate raises AssertionError with what is wrong. A `Cut` is one stretch of one source as it was asked for; an output has one or more.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np

from tests.media import bits, looking

NEAR = 60  # neighbours among which a frame's own source frame has to be the nearest
MILLISECOND = Fraction(1, 1000)


@dataclass(frozen=True)
class Cut:
    """A stretch [start, end) of a source, in seconds from the start of its presentation."""

    source: Path
    start: Fraction = Fraction(0)
    end: Fraction | None = None
    numbered: bool = True  # do its frames carry their numbers?

    @property
    def frames(self) -> list[looking.Frame]:
        """The frames of the source that were asked for."""
        shown = looking.frames(self.source, numbered=self.numbered)
        return [f for f in shown if f.time >= self.start and (self.end is None or f.time < self.end)]

    @property
    def first(self) -> int:
        """The place of the first of them among all that the source shows."""
        return next(n for n, f in enumerate(looking.frames(self.source, numbered=self.numbered)) if f.time >= self.start)


def length(cut: Cut) -> Fraction:
    """Seconds that its frames are shown: to the source's next frame, else to where its last one ends."""
    asked, shown = cut.frames, looking.frames(cut.source, numbered=cut.numbered)
    after = cut.first + len(asked)
    end = shown[after].time if after < len(shown) else asked[-1].time + pace(cut)
    if cut.end is not None and end > cut.end + 2 * pace(cut):
        end = cut.end  # a still is not held for longer than was asked
    return end - asked[0].time


def pace(cut: Cut) -> Fraction:
    """Seconds of the source's usual frame."""
    times_ = [f.time for f in looking.frames(cut.source, numbered=cut.numbered)]
    steps = sorted(b - a for a, b in pairwise(times_))
    return steps[len(steps) // 2] if steps else max(bits.packets(cut.source)[0].duration, Fraction(1, 1000))


def even(cut: Cut) -> bool:
    """Is every frame of the source shown for as long as the others? Else the last one's end is not known so well."""
    times_ = [f.time for f in looking.frames(cut.source, numbered=cut.numbered)]
    steps = [b - a for a, b in pairwise(times_)]
    return bool(steps) and max(steps) - min(steps) <= 2 * MILLISECOND and len(cut.frames) + cut.first < len(times_)


@dataclass(frozen=True)
class Counts:
    """How an output's pictures came to be, told from its packets."""

    copied: int
    primed: int
    encoded: int


# the picture ----------------------------------------------------------------------------------------------------------------------


def frames(cuts: Sequence[Cut], output: Path) -> list[bool]:
    """Exactly the frames asked for, in order, each once (gates 1 and 2). Returns which are identical to the source's, bit for bit."""
    numbered = all(cut.numbered for cut in cuts)
    asked = [frame for cut in cuts for frame in cut.frames]
    got = looking.frames(output, numbered=numbered)
    assert len(got) == len(asked), f"{len(got)} frames are shown instead of {len(asked)}"
    if numbered:
        assert [f.number for f in got] == [f.number for f in asked]
    same = [a.digest == b.digest for a, b in zip(asked, got, strict=True)]
    at = 0
    for cut in cuts:
        many = len(cut.frames)
        _nearest(cut, output, at, [n for n in range(many) if not same[at + n]])
        at += many
    return same


def _nearest(cut: Cut, output: Path, at: int, places: list[int]) -> None:
    """The frames of a cut at these places look like their own source frame, more than like any other near it."""
    if not places:
        return
    shown, base = looking.frames(cut.source, numbered=cut.numbered), cut.first
    got = looking.frames(output, numbered=cut.numbered)
    suspects: dict[int, int] = {}
    for n in places:
        picture, own = got[at + n].sketch, base + n
        near = range(max(0, own - NEAR), min(len(shown), own + NEAR + 1))
        best = min(near, key=lambda m: _error(picture, shown[m].sketch))
        if best != own:
            suspects[n] = best
    if not suspects:
        return
    mine = looking.lumas(output, {at + n for n in suspects})
    theirs = looking.lumas(cut.source, {base + n for n in suspects} | set(suspects.values()))
    for n, best in suspects.items():
        own = base + n
        apart = _error(theirs[own], theirs[best])
        left = _error(mine[at + n], theirs[best])
        nearer = _error(mine[at + n], theirs[own]) - left
        # A frame that is another one is nearer to it by as much as the two are apart. Where they are alike but for less than what coding
        # changed, an encoder that repeats what was there before says nothing of which frame it was given.
        assert nearer <= apart / 2 or apart <= left / 2, f"frame {at + n} of the output is frame {best} of the source, not {own}"


def _error(one: np.ndarray, other: np.ndarray) -> float:
    # video of odd sizes loses its last line or column in 4:2:0
    high, wide = min(one.shape[0], other.shape[0]), min(one.shape[1], other.shape[1])
    difference = one[:high, :wide].astype(np.float32) - other[:high, :wide]
    return float(np.mean(difference * difference))


def quality(cuts: Sequence[Cut], output: Path, same: Sequence[bool]) -> list[float]:
    """Decibels of every frame against its source's, at least 100 where they are identical (gate 5)."""
    found, at = [100.0] * len(same), 0
    for cut in cuts:
        many = len(cut.frames)
        places = [n for n in range(many) if not same[at + n]]
        mine = looking.pictures(output, {at + n for n in places})
        theirs = looking.pictures(cut.source, {cut.first + n for n in places})
        for (place, one), (_, other) in zip(mine, theirs, strict=True):
            error = _error(one, other)
            found[place] = float(10 * np.log10(255**2 / error)) if error else 100.0
        at += many
    return found


def interior(cuts: Sequence[Cut], output: Path) -> Counts:
    """What of the output is the source's own packets, picture unit for picture unit, and what their data under another header (gate 2).

    Copied packets keep their order and their distances in time."""
    mine, place = bits.packets(output), 0
    known: dict[tuple[bytes, ...], list[tuple[int, bits.Packet]]] = {}
    tails: dict[tuple[int, ...], int] = {}
    for number, source in enumerate(dict.fromkeys(cut.source for cut in cuts)):
        for packet in bits.packets(source):
            known.setdefault(packet.units, []).append((number, packet))
            tails[packet.tails] = place
    kinds: Counter[str] = Counter()
    before: tuple[int, bits.Packet, bits.Packet] | None = None
    for packet in mine:
        origins = known.get(packet.units, [])
        if not origins:
            kinds["primed" if packet.tails in tails else "encoded"] += 1
            before = None
            continue
        kinds["copied"] += 1
        if len(origins) > 1:
            before = None  # pictures that are equal say nothing about their order
            continue
        number, origin = origins[0]
        if before is not None and before[0] == number and origin.row == before[1].row + 1:
            distance, due = packet.pts - before[2].pts, origin.pts - before[1].pts
            assert abs(distance - due) <= max(packet.tick, origin.tick), f"a copied picture is {float(distance - due):.6f} s off"
        before = number, origin, packet
    return Counts(kinds["copied"], kinds["primed"], kinds["encoded"])


def times(cuts: Sequence[Cut], output: Path) -> None:
    """Every frame at its source's distance from the first of its cut, to the tick (gate 3)."""
    got, at = looking.frames(output, numbered=all(cut.numbered for cut in cuts)), 0
    tick = bits.tick(output)
    assert len({f.time for f in got}) == len(got), "two frames are shown at one time"
    for cut in cuts:
        asked = cut.frames
        slack = max(tick, bits.tick(cut.source))
        for n, frame in enumerate(asked):
            late = (got[at + n].time - got[at].time) - (frame.time - asked[0].time)
            assert abs(late) <= slack, f"frame {at + n} is shown {float(late):.6f} s late"
        at += len(asked)
    assert got[0].time <= tick, f"the first frame is shown at {float(got[0].time):.6f} s"


def decoding_times(output: Path) -> None:
    """Decoding times rise, and no picture is decoded after it is shown; with and without the edit list the same frames come (gate 4)."""
    found = bits.packets(output)
    for one, two in pairwise(found):
        assert two.dts > one.dts, "decoding times do not rise"
    assert all(p.pts >= p.dts for p in found), "a picture is decoded after it is shown"
    if output.suffix in (".mp4", ".mov"):
        with av.open(str(output), options={"ignore_editlist": "1"}) as container:
            bare = sum(1 for _ in container.decode(container.streams.video[0]))
        listed = len(looking.frames(output, numbered=False)) if bare else 0
        assert bare == listed, f"the edit list hides {bare - listed} frames"


def lengths(cuts: Sequence[Cut], output: Path, *, frame: Fraction = Fraction(0)) -> None:
    """The picture lasts as long as the frames asked for, the last one included, and the container as its longest stream (gate 7).

    `frame`: seconds of one in an output whose pieces were brought to one rate, so that each lasts whole ones."""
    found = bits.packets(output)
    spread = max(p.pts for p in found) - min(p.pts for p in found)
    with av.open(str(output)) as container:
        whole = Fraction(container.duration or 0, av.time_base)
        ends = [Fraction(((s.start_time or 0) + s.duration) * s.time_base) for s in container.streams if s.duration and s.time_base]
    said = bits.lasts(output) if output.suffix in (".mp4", ".mov") else None
    if said is not None:
        assert said > spread, "the last frame is not shown"
        due = sum((length(cut) for cut in cuts), Fraction(0))
        slack = sum((2 * MILLISECOND if even(cut) else 2 * pace(cut) for cut in cuts), MILLISECOND) + frame * len(cuts) / 2
        assert abs(said - due) < slack, f"the picture lasts {float(said):.4f} s instead of {float(due):.4f} s"
    if whole and ends:
        assert abs(whole - max(ends)) <= Fraction(1, 20), f"the container lasts {float(whole):.3f} s, its streams {float(max(ends)):.3f} s"


# the stream -----------------------------------------------------------------------------------------------------------------------


def one_parameter_set(output: Path) -> None:
    """An H.264 output has one SPS, in its header; avc1 and hvc1 have none among their samples; marked samples are clean starts (gate 9)."""
    found = bits.stream(output)
    if found.codec not in ("h264", "hevc"):
        return
    if found.codec == "h264":
        sets = set(found.header_sps) | set(found.inband_sps)
        assert len(sets) == 1, f"the output has {len(sets)} sequence parameter sets"
    if found.tag in ("avc1", "hvc1"):
        assert not found.inband_sets, f"{found.tag} has parameter sets among its samples"
    if output.suffix in (".mp4", ".mov"):
        false = [row for row in bits.marked(output) if not bits.packets(output)[row].clean]
        assert not false, f"samples {false[:5]} are marked as key frames and are none"
    assert bits.packets(output)[0].clean, "the output does not begin with a clean start"


def second_decoder(output: Path) -> None:
    """openh264, which shares no code with FFmpeg's decoder, shows as many frames. It knows eight bits of 4:2:0, no fields and no layers."""
    with av.open(str(output)) as container:
        context = container.streams.video[0].codec_context
        fit = context.name == "h264" and context.pix_fmt in ("yuv420p", "yuvj420p") and int(context.field_order) <= 1
    if not fit or bits.stream(output).layered:
        return
    decoding = ["-c:v", "libopenh264", "-i", str(output), "-map", "0:v:0", "-fps_mode", "passthrough", "-f", "framecrc", "-"]
    done = subprocess.run([looking.FFMPEG, "-v", "error", "-nostdin", *decoding], capture_output=True, text=True, timeout=120, check=False)
    seen = sum(1 for line in done.stdout.splitlines() if line[:1] == "0")
    wanted = len(looking.frames(output, numbered=False))
    assert seen == wanted, f"openh264 shows {seen} frames instead of {wanted}: {done.stderr[:300]}"


# the sound ------------------------------------------------------------------------------------------------------------------------


def in_step(cuts: Sequence[Cut], output: Path, *, foreign: bool = False) -> list[float]:
    """Milliseconds by which the sound lags behind the source's at places in every cut, none more than 1 (gate 6).

    Where the sound is silent, or too even to have a place, nothing is measured. `foreign`: the sound was made anew at another rate, and
    each piece begins with a whole frame."""
    rate, found = 48000, []
    if not bits.sounds(output):
        return found
    b0, b = looking.heard(output, rate)
    begin = Fraction(0)
    shown = [f.time for f in looking.frames(output, numbered=all(cut.numbered for cut in cuts))]
    for cut in cuts:
        asked, lasts = cut.frames, length(cut)
        if foreign:
            begin = min(shown, key=lambda t: abs(t - begin))
        if bits.sounds(cut.source):
            a0, a = looking.heard(cut.source, rate)
            for part in (Fraction(1, 16), Fraction(1, 4), Fraction(1, 2), Fraction(3, 4), Fraction(7, 8)):
                late = _lag(a, a0, b, b0, round((asked[0].time + part * lasts) * rate), round((begin + part * lasts) * rate), rate)
                if late is not None:
                    found.append(late)
                    assert abs(late) <= (2 if foreign else 1), f"the sound lags by {late:.2f} ms at {float(begin + part * lasts):.2f} s"
        begin += lasts
    return found


def _lag(a: np.ndarray, a0: int, b: np.ndarray, b0: int, there: int, here: int, rate: int) -> float | None:
    """Milliseconds; None when nothing can be said. The piece of `b` at sample `here` is looked for in `a` around `there`."""
    window, reach = rate * 2 // 5, rate // 25
    piece, around = b[max(0, here - b0) : here - b0 + window], a[max(0, there - a0 - reach) : there - a0 + window + reach]
    if here < b0 or there - reach < a0 or len(piece) < window or len(around) < window + 2 * reach:
        return None
    if float(np.sqrt(np.mean(piece**2))) < 0.003:
        return None
    size = 1 << (len(around) + window).bit_length()
    products = np.fft.irfft(np.fft.rfft(around, size) * np.conj(np.fft.rfft(piece, size)), size)[: 2 * reach + 1]
    squares = np.concatenate([[0.0], np.cumsum(around.astype(np.float64) ** 2)])
    energy = squares[window : window + 2 * reach + 1] - squares[: 2 * reach + 1]
    likeness = products / np.sqrt(np.maximum(energy, 1e-9) * float(np.sum(piece.astype(np.float64) ** 2)))
    peak = int(np.argmax(likeness))
    aside = np.abs(np.arange(len(likeness)) - peak) > rate // 500
    if likeness[peak] < 0.6 or (aside.any() and float(np.max(likeness[aside])) > 0.995 * float(likeness[peak])):
        return None
    return (reach - peak) * 1000 / rate


# all of them ----------------------------------------------------------------------------------------------------------------------


def exact(cuts: Sequence[Cut], output: Path) -> tuple[list[bool], Counts]:
    """Every gate that an exact output of pictures has to pass. Returns which frames are identical, and how the packets came to be."""
    same = frames(cuts, output)
    times(cuts, output)
    counts = interior(cuts, output)
    decoding_times(output)
    lengths(cuts, output)
    one_parameter_set(output)
    looking.strictly_decodes(output)
    second_decoder(output)
    in_step(cuts, output)
    return same, counts
