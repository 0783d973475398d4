"""What joining asks of each clip, in exact numbers: where it begins in its file, how many frames and samples of the result it makes.

Frames and samples are counted on the result's own clock from its very beginning, so that rounding never adds up: after any clip the
picture is at most half a frame, and the sound half a sample, from where the durations say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor

from native import errors
from native.media.edit import Edit, Segment
from native.media.index import Index
from native.media.info import MediaInfo, Stream
from native.media.timecode import first_at

RATES = tuple(
    Fraction(n, d) for n, d in ((24000, 1001), (24, 1), (25, 1), (30000, 1001), (30, 1), (48, 1), (50, 1), (60000, 1001), (60, 1))
)
MOST_RATE = Fraction(120)
SAMPLE_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000)  # what AAC can say
LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 8: "7.1"}
HDR = {16, 18}  # transfers (H.273) PQ and HLG
MOST_SIDE, MOST_PIXELS = 8192, 33_177_600

# Sound that ends this little after the picture is its codec's last packet; a longer one is kept, and the last picture stays.
SOUND_TAIL = Fraction(1, 4)  # seconds
# A cut lies between two frames. Players and FFmpeg round times to microseconds; half a frame away none of that matters.
_MICROSECOND = Fraction(1, 1_000_000)


@dataclass(frozen=True)
class Target:
    """What every clip is made to be: what the first clip with a picture, and the first with sound, are."""

    width: int = 0  # pixels, even; 0: no picture
    height: int = 0
    frame_rate: Fraction = Fraction(25)
    pixel_format: str = "yuv420p"
    primaries: int = 1  # these three as in ITU-T H.273
    transfer: int = 1
    matrix: int = 1
    sample_rate: int = 0  # Hz; 0: no sound
    layout: str = "stereo"


@dataclass(frozen=True)
class Clip:
    """One segment, resolved. Times are seconds on the clock of its own file."""

    number: int
    source: int
    begin: Fraction
    duration: Fraction
    cut_in: Fraction | None  # before the first frame, after the one before it; None: from the first
    cut_out: Fraction | None
    picture: Stream | None
    sound: Stream | None
    still: Fraction = Fraction(0)  # how long the last frame is shown
    width: int = 0  # of the picture inside the target's
    height: int = 0
    frames: int = 0  # of the result
    samples: int = 0


def target(media: Sequence[MediaInfo]) -> Target:
    """The target for clips of these sources, in the order in which they are played."""
    picture = next((info.video for info in media if info.video), None)
    sound = next((info.audio[0] for info in media if info.audio), None)
    fields: dict[str, object] = {}
    if picture:
        width, height = _fit(*shape(picture), MOST_SIDE, MOST_SIDE)
        transfers = {info.video.color_transfer for info in media if info.video}
        if transfers & HDR and len(transfers) > 1:
            # among others, HDR is brought down: the other way round every player without HDR would lose
            picture = picture.model_copy(update={"color_primaries": 1, "color_transfer": 1, "color_matrix": 1})
        wide = picture.color_primaries == 9 or picture.color_transfer in HDR  # 8 bits would band
        fields |= {"width": width, "height": height, "frame_rate": rate(picture), "pixel_format": "yuv420p10le" if wide else "yuv420p"}
        matrix = matrix_of(picture)
        guess = {1: (1, 1), 5: (5, 6), 6: (6, 6), 9: (9, 14)}.get(matrix, (1, 1))
        fields |= {"matrix": matrix, "primaries": picture.color_primaries or guess[0], "transfer": picture.color_transfer or guess[1]}
    if sound:
        wanted = sound.sample_rate or 48000
        fields |= {
            "sample_rate": wanted if wanted in SAMPLE_RATES else 48000,
            "layout": LAYOUTS.get(sound.channels or 2, "stereo"),
        }
    return Target(**fields)  # type: ignore[arg-type]


def rate(picture: Stream) -> Fraction:
    """The frame rate of a result made from `picture`: its own when it is steady, else the usual one nearest to its average."""
    own = picture.frame_rate or Fraction(25)
    if own > MOST_RATE:
        return Fraction(60)
    near = min(RATES, key=lambda usual: abs(usual - own))
    return near if abs(near - own) / own < Fraction(1, 200) else own.limit_denominator(1001)


def shape(picture: Stream) -> tuple[Fraction, Fraction]:
    """Width and height as shown: square pixels, upright."""
    width, height = Fraction(picture.width or 2), Fraction(picture.height or 2)
    aspect = picture.sample_aspect or Fraction(1)
    if not Fraction(1, 8) <= aspect <= 8:  # no camera makes such pixels: a mistake or an attack
        aspect = Fraction(1)
    width, height = (width * aspect, height) if aspect >= 1 else (width, height / aspect)
    return (height, width) if picture.rotation % 180 == 90 else (width, height)


def matrix_of(picture: Stream) -> int:
    """The colour matrix (H.273). Files that do not say follow the size: SD is BT.601, HD is BT.709."""
    said = picture.color_matrix
    return said if said in (1, 5, 6, 9) else (1 if (picture.height or 0) >= 720 else 6)


def _fit(width: Fraction, height: Fraction, most_width: int, most_height: int) -> tuple[int, int]:
    """The largest even size of that shape inside the box, no larger than the shape itself needs to be."""
    scale = min(Fraction(1), most_width / width, most_height / height)
    if width * height * scale * scale > MOST_PIXELS:
        scale = Fraction(int((float(MOST_PIXELS / (width * height)) ** 0.5) * 1000), 1000)
    return _even(width * scale), _even(height * scale)


def _even(length: Fraction) -> int:
    return max(2, 2 * floor(length / 2 + Fraction(1, 2)))


def resolve(edit: Edit, indexes: Mapping[int, Index], to: Target) -> list[Clip]:
    """Every segment as a clip. Raises RANGE_EMPTY, naming the clip, when no frame lies in a range."""
    clips: list[Clip] = []
    time, frames, samples = Fraction(0), 0, 0
    for number, segment in enumerate(edit.segments):
        index = indexes[segment.source]
        clip = _picture_clip(number, segment, index) if index.media.video else _sound_clip(number, segment, index)
        time += clip.duration
        until = _near(time * to.frame_rate) if to.width else 0
        # the sound follows the frames, so that the two end together
        end = until / to.frame_rate if to.width else time
        heard = _near(end * to.sample_rate)
        width, height = _inside(clip.picture, to) if clip.picture else (0, 0)
        clips.append(replace(clip, width=width, height=height, frames=until - frames, samples=heard - samples))
        frames, samples = until, heard
    return clips


def _near(value: Fraction) -> int:
    return floor(value + Fraction(1, 2))


def _inside(picture: Stream, to: Target) -> tuple[int, int]:
    """The size at which a picture fills the target's as far as its shape lets it."""
    width, height = shape(picture)
    scale = min(to.width / width, to.height / height)
    return min(to.width, _even(width * scale)), min(to.height, _even(height * scale))


def _picture_clip(number: int, segment: Segment, index: Index) -> Clip:
    """The frames whose time lies in the range, for as long as they are shown."""
    track = index.video
    picture = index.media.video
    if track is None or picture is None:
        raise errors.SOURCE_UNREADABLE()
    own_rate = picture.frame_rate or Fraction(25)
    zero = index.start
    ticks = track.shown_times()
    times = [tick * track.time_base - zero for tick in ticks]
    start = segment.start.at(own_rate, times) if segment.start else None
    end = segment.end.at(own_rate, times) if segment.end else None
    first = first_at(times, start) if start is not None else 0
    last = first_at(times, end) if end is not None else len(times)
    if first >= last:
        raise errors.RANGE_EMPTY(f"No frame of clip {number + 1} lies in its range.")
    begin = times[first] if first > 0 else min(times[0], start or Fraction(0))
    # A frame is shown until the next one; the last of the range not past the range, but for its ordinary length.
    shown = track.last * track.time_base if track.last > 0 else 1 / own_rate
    next_one = times[last] if last < len(times) else times[-1] + shown
    over = next_one if end is None else min(next_one, max(end, times[last - 1] + 1 / own_rate))
    sound = index.media.audio[0] if index.media.audio else None
    if end is None and sound is not None and index.media.duration - over > SOUND_TAIL:
        over = index.media.duration
    return Clip(
        number=number,
        source=segment.source,
        begin=begin + zero,
        duration=over - begin,
        cut_in=(times[first - 1] + times[first]) / 2 + zero if first > 0 else None,
        cut_out=(times[last - 1] + times[last]) / 2 + zero if last < len(times) else None,
        picture=picture,
        sound=sound,
        still=over - times[last - 1],
    )


def _sound_clip(number: int, segment: Segment, index: Index) -> Clip:
    """A range of a source without a picture."""
    start = segment.start.at(Fraction(25)) if segment.start else Fraction(0)
    end = min(segment.end.at(Fraction(25)), index.media.duration) if segment.end else index.media.duration
    if end - start < _MICROSECOND:
        raise errors.RANGE_EMPTY(f"No sound of clip {number + 1} lies in its range.")
    sound = index.media.audio[0] if index.media.audio else None
    return Clip(number, segment.source, start + index.start, end - start, None, None, None, sound)
