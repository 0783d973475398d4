"""What conforming asks of each clip, in exact numbers: which frames of its source, and how many of the result they become.

The lengths of the result are counted from its very beginning, so that rounding never adds up: after any clip the picture is at most
half a frame from where the sources' durations say.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor

from native.media.edit import Output
from native.media.index import Track
from native.media.info import Stream
from native.media.pieces import Part
from native.media.splice import Source

RATES = tuple(
    Fraction(n, d) for n, d in ((24000, 1001), (24, 1), (25, 1), (30000, 1001), (30, 1), (48, 1), (50, 1), (60000, 1001), (60, 1))
)
MOST_RATE = Fraction(120)
HDR = {16, 18}  # transfers (H.273) PQ and HLG
MOST_SIDE, MOST_PIXELS = 8192, 33_177_600


@dataclass(frozen=True)
class Target:
    """What the pictures of clips are made to be."""

    width: int  # pixels as stored, even
    height: int
    frame_rate: Fraction | None = None  # None: of each clip its own
    sample_aspect: Fraction = Fraction(1)
    rotation: int = 0  # degrees clockwise that a player turns what is stored
    codec: str = "h264"
    profile: str | None = None  # None: what the encoder finds best
    pixel_format: str = "yuv420p"
    primaries: int = 1  # these three as in ITU-T H.273
    transfer: int = 1
    matrix: int = 1
    full_range: bool = False
    timescale: int | None = None  # ticks per second of what the clips are joined with; None: they are joined with nothing else


@dataclass(frozen=True)
class Clip:
    """One segment that is to be conformed. Times are seconds on the clock of its own file."""

    number: int  # of the segment
    part: Part
    picture: Stream | None  # None: black is shown
    rate: Fraction  # of its frames in the result
    frames: int  # of the result
    begin: Fraction  # of its first frame
    cut_in: Fraction | None = None  # before the first frame, after the one before it; None: from the first
    cut_out: Fraction | None = None
    still: Fraction = Fraction(0)  # how long its last frame is shown
    width: int = 0  # of the picture inside the target's
    height: int = 0


def upright(picture: Stream, transfers: Collection[int | None] = (), *, steady: bool = True) -> Target:
    """The target when nothing is copied: the picture as it is shown, upright in square pixels. `transfers` are those of all clips."""
    width, height = _fit(*shape(picture), MOST_SIDE, MOST_SIDE)
    if set(transfers) & HDR and len(set(transfers)) > 1:
        # among others, HDR is brought down: the other way round every player without HDR would lose
        picture = picture.model_copy(update={"color_primaries": 1, "color_transfer": 1, "color_matrix": 1})
    wide = picture.color_primaries == 9 or picture.color_transfer in HDR  # 8 bits would band
    primaries, transfer, matrix, _ = colours(picture)
    own = rate(picture) if steady else _usual(picture)
    return Target(
        width=width, height=height, frame_rate=own, pixel_format="yuv420p10le" if wide else "yuv420p",
        primaries=primaries, transfer=transfer, matrix=matrix,
    )  # fmt: skip


def asked(target: Target, output: Output) -> Target:
    """The target with what a request says of its own. A side that it leaves open follows the shape."""
    width, height = output.width, output.height
    if width or height:
        width = width or even(Fraction(target.width * (height or 0), target.height))
        height = height or even(Fraction(target.height * width, target.width))
        target = replace(target, width=min(width, MOST_SIDE), height=min(height, MOST_SIDE))
    if output.codec:
        target = replace(target, codec=output.codec)
    return replace(target, frame_rate=output.frame_rate) if output.frame_rate else target


def like(track: Track, *, steady: bool) -> Target:
    """The target for clips that are to be joined with copies of a track's packets."""
    picture = track.stream
    primaries, transfer, matrix, full = colours(picture)
    return Target(
        width=picture.width or 2, height=picture.height or 2, frame_rate=rate(picture) if steady else None,
        sample_aspect=picture.sample_aspect or Fraction(1), rotation=picture.rotation, codec=picture.codec, profile=picture.profile,
        pixel_format=(picture.pixel_format or "yuv420p").replace("yuvj", "yuv"), primaries=primaries, transfer=transfer, matrix=matrix,
        full_range=full, timescale=track.time_base.denominator,
    )  # fmt: skip


def rate(picture: Stream) -> Fraction:
    """The frame rate of a result made from `picture`: its own, or the usual one that it is meant to be."""
    own = picture.frame_rate or Fraction(25)
    if own > MOST_RATE:
        return Fraction(60)
    near = _usual(picture)
    return near if abs(near - own) / own < Fraction(1, 200) else own.limit_denominator(1001)


def _usual(picture: Stream) -> Fraction:
    """The usual rate nearest to a picture's average, which is what a camera means when its frames are not steady."""
    return min(RATES, key=lambda usual: abs(usual - (picture.frame_rate or 25)))


def colours(picture: Stream) -> tuple[int, int, int, bool]:
    """(primaries, transfer, matrix, full range). Files that do not say follow the size: SD is BT.601, HD is BT.709."""
    said = picture.color_matrix
    matrix = said if said in (1, 5, 6, 9) else (1 if (picture.height or 0) >= 720 else 6)
    guess = {1: (1, 1), 5: (5, 6), 6: (6, 6), 9: (9, 14)}[matrix]
    full = picture.color_range == 2 or (picture.pixel_format or "").startswith("yuvj")
    return picture.color_primaries or guess[0], picture.color_transfer or guess[1], matrix, full


def turn(picture: Stream) -> tuple[bool, int]:
    """(mirrored, quarters of a turn clockwise): what a player does, in this order, with the stored picture."""
    if picture.matrix is None:
        return False, round(picture.rotation / 90) % 4
    a, b, _, c, d = picture.matrix[:5]
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    return mirrored, round(math.degrees(math.atan2(b, a)) / 90) % 4


def shape(picture: Stream) -> tuple[Fraction, Fraction]:
    """Width and height as shown: square pixels, upright."""
    width, height = Fraction(picture.width or 2), Fraction(picture.height or 2)
    aspect = picture.sample_aspect or Fraction(1)
    if not Fraction(1, 8) <= aspect <= 8:  # no camera makes such pixels: a mistake or an attack
        aspect = Fraction(1)
    width, height = (width * aspect, height) if aspect >= 1 else (width, height / aspect)
    return (height, width) if turn(picture)[1] % 2 else (width, height)


def even(length: Fraction) -> int:
    return max(2, 2 * floor(length / 2 + Fraction(1, 2)))


def _fit(width: Fraction, height: Fraction, most_width: int, most_height: int) -> tuple[int, int]:
    """The largest even size of that shape inside the box, no larger than the shape itself needs to be."""
    scale = min(Fraction(1), most_width / width, most_height / height)
    if width * height * scale * scale > MOST_PIXELS:
        scale = Fraction(int((float(MOST_PIXELS / (width * height)) ** 0.5) * 1000), 1000)
    return even(width * scale), even(height * scale)


def resolve(parts: Sequence[Part], odd: Collection[int], sources: Sequence[Source], to: Target) -> list[Clip]:
    """The parts that are to be conformed, as clips, in order. Every one gets at least a frame."""
    clips: list[Clip] = []
    wanted, made = Fraction(0), Fraction(0)
    for number, part in enumerate(parts):
        length = part.finish - part.begin
        wanted += length
        if number not in odd:
            made += length
            continue
        clip = _clip(number, part, sources[part.source], to)
        clip = replace(clip, frames=max(1, floor((wanted - made) * clip.rate + Fraction(1, 2))))
        made += clip.frames / clip.rate
        clips.append(clip)
    return clips


def _clip(number: int, part: Part, source: Source, to: Target) -> Clip:
    if part.track is None:
        return Clip(number, part, None, to.frame_rate or Fraction(25), 0, part.begin)
    picture, tb, times = part.track.stream, part.track.time_base, source.order.times
    width, height = _inside(picture, to)
    low, high = bisect_left(times, part.times[0]), bisect_left(times, part.times[-1]) + 1
    return Clip(
        number=number,
        part=part,
        picture=picture,
        rate=to.frame_rate or rate(picture),
        frames=0,
        begin=part.begin,
        # a cut lies between two frames: half a frame away it does not matter that times are rounded to microseconds
        cut_in=(times[low - 1] + times[low]) * tb / 2 if low > 0 else None,
        cut_out=(times[high - 1] + times[high]) * tb / 2 if high < len(times) else None,
        still=(part.end - part.times[-1]) * tb,
        width=width,
        height=height,
    )


def _inside(picture: Stream, to: Target) -> tuple[int, int]:
    """The stored size at which a picture fills the target's as far as its shape lets it."""
    width, height = shape(picture)
    if to.rotation % 180 == 90:
        width, height = height, width
    scale = min(to.width * to.sample_aspect / width, to.height / height)
    return min(to.width, even(width * scale / to.sample_aspect)), min(to.height, even(height * scale))
