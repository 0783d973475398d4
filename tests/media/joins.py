"""The gates of a merge whose pieces were brought to one form: what is left of frame identity when sizes, rates and colours change."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np

from tests.media import bits, gates, looking
from tests.media.gates import Cut

ACROSS, DOWN = 32, 18  # cells of the grid that pictures of different sizes are compared on


def alike(cuts: Sequence[Cut], output: Path) -> bool:
    """Do all sources have the size, shape and rate of the output, so that its frames can be compared with theirs one by one?"""
    shapes = {_shape(cut.source) for cut in cuts} | {_shape(output)}
    return len(shapes) == 1


def _shape(path: Path) -> tuple[object, ...]:
    with av.open(str(path), metadata_errors="replace") as container:
        video = container.streams.video[0]
        context = video.codec_context
        frame = next(container.decode(video))
        rate = round(float(video.average_rate or 0), 1)
        return (
            frame.width,
            frame.height,
            context.pix_fmt,
            frame.rotation,
            str(context.sample_aspect_ratio or 1),
            rate,
            int(context.color_trc),
        )


def conformed(cuts: Sequence[Cut], output: Path) -> None:
    """The pieces follow each other, as long as they should be, in step with their sound, and show what their source shows then."""
    looking.strictly_decodes(output)
    gates.decoding_times(output)
    gates.one_parameter_set(output)
    gates.second_decoder(output)
    got = looking.frames(output, numbered=False)
    steps = [b.time - a.time for a, b in pairwise(got)]
    assert all(step > 0 for step in steps), "two frames are shown at one time"
    frame = sorted(steps)[len(steps) // 2] if steps else Fraction(1, 25)
    gates.lengths(cuts, output, frame=frame)
    found = bits.packets(output)
    last = max(found, key=lambda p: p.pts)
    length = last.pts + last.duration - min(p.pts for p in found)
    due = sum((gates.length(cut) for cut in cuts), Fraction(0))
    slack = frame + sum((gates.pace(cut) for cut in cuts), Fraction(0)) / 2
    assert abs(length - due) <= slack, f"the picture lasts {float(length):.3f} s instead of {float(due):.3f} s"
    gates.in_step(cuts, output, foreign=True)
    begin = Fraction(0)
    for cut in cuts:
        _shows(cut, output, begin, frame)
        begin += gates.length(cut)


def _shows(cut: Cut, output: Path, begin: Fraction, frame: Fraction) -> None:
    """At three places of a piece the output shows the source's own frame of that time, or one of its neighbours."""
    asked, base = cut.frames, cut.first
    got = looking.frames(output, numbered=False)
    shown = looking.frames(cut.source, numbered=False)
    places = sorted({round(part * (len(asked) - 1)) for part in (0.2, 0.5, 0.8)})
    wanted = {n: min(range(len(got)), key=lambda m: abs(got[m].time - begin - (asked[n].time - asked[0].time))) for n in places}
    mine = looking.lumas(output, set(wanted.values()))
    near = {n: range(max(0, base + n - 12), min(len(shown), base + n + 13)) for n in places}
    theirs = looking.lumas(cut.source, {m for some in near.values() for m in some})
    width, height = _upright(cut.source)
    if min(theirs[base + places[0]].shape) < ACROSS:
        return  # a few pixels are no picture
    wide = _stretch(output)
    if _turn(output) % 180:
        width, height = height, width
    for n in places:
        picture = grid(mine[wanted[n]], _box(mine[wanted[n]].shape, width / wide, height))
        turn = max(range(8), key=lambda k: _likeness(picture, grid(_turned(theirs[base + n], k), None)))
        turned = {m: grid(_turned(theirs[m], turn), None) for m in near[n]}
        likeness = {m: _likeness(picture, other) for m, other in turned.items()}
        best = max(likeness, key=lambda m: likeness[m])
        own = max((m for m in near[n] if abs(shown[m].time - asked[n].time) <= frame + gates.pace(cut)), key=lambda m: likeness[m])
        apart = 1 - _likeness(turned[own], turned[best])
        assert likeness[best] - likeness[own] <= max(apart / 2, 0.002), (
            f"at {float(got[wanted[n]].time):.2f} s frame {best} is shown, not {own}"
        )
        assert likeness[own] > 0.5 or float(np.std(turned[own])) < 4, f"at {float(got[wanted[n]].time):.2f} s something else is shown"


def _stretch(path: Path) -> Fraction:
    """How wide the pixels are."""
    with av.open(str(path), metadata_errors="replace") as container:
        return Fraction(container.streams.video[0].codec_context.sample_aspect_ratio or 1)


def _turn(path: Path) -> int:
    with av.open(str(path), metadata_errors="replace") as container:
        return next(container.decode(container.streams.video[0])).rotation


def _upright(path: Path) -> tuple[Fraction, Fraction]:
    """Width and height as shown: of square pixels, turned upright."""
    with av.open(str(path), metadata_errors="replace") as container:
        video = container.streams.video[0]
        frame = next(container.decode(video))
        width = frame.width * Fraction(video.codec_context.sample_aspect_ratio or 1)
        sides = width, Fraction(frame.height)
        return sides if frame.rotation % 180 == 0 else (sides[1], sides[0])


def _turned(picture: np.ndarray, turn: int) -> np.ndarray:
    """One of the eight ways to hold a picture. Which one is right, other tests say: here it matters which picture it is."""
    picture = np.rot90(picture, turn % 4)
    return picture if turn < 4 else picture[:, ::-1]


def _box(shape: tuple[int, ...], width: Fraction, height: Fraction) -> tuple[int, int, int, int]:
    """Where a picture of that shape lies between its bars: top, bottom, left, right."""
    tall, wide = shape[:2]
    scale = min(Fraction(wide) / width, Fraction(tall) / height)
    w, h = int(width * scale), int(height * scale)
    top, left = (tall - h) // 2, (wide - w) // 2
    return top, top + h, left, left + w


def grid(picture: np.ndarray, box: tuple[int, int, int, int] | None) -> np.ndarray:
    """Mean brightness in the cells of a grid laid over the picture, or over a box of it."""
    if box is not None:
        picture = picture[box[0] : box[1], box[2] : box[3]]
    rows = np.linspace(0, picture.shape[0], min(DOWN, picture.shape[0]) + 1).astype(int)[:-1]
    columns = np.linspace(0, picture.shape[1], min(ACROSS, picture.shape[1]) + 1).astype(int)[:-1]
    sums = np.add.reduceat(np.add.reduceat(picture.astype(np.float64), rows, axis=0), columns, axis=1)
    high, wide = np.diff([*rows, picture.shape[0]]), np.diff([*columns, picture.shape[1]])
    return sums / np.outer(high, wide)


def _likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation, which brightness and contrast do not change; 1 for two that are even all over."""
    if one.shape != other.shape:
        return 1.0  # smaller than the grid: nothing can be said
    a, b = one - one.mean(), other - other.mean()
    norm = float(np.sqrt(np.sum(a * a) * np.sum(b * b)))
    return float(np.sum(a * b)) / norm if norm > 1e-6 else float(np.std(one) < 1) * float(np.std(other) < 1)
