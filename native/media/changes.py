"""What happened to the clips of a merge, in words for the user: clips are counted from 1, and those of one fate share a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from native.media import clips
from native.media.clips import Clip, Target
from native.media.edit import Edit
from native.media.info import Stream
from native.media.splice import Source

NAMES = {
    "h264": "H.264",
    "hevc": "HEVC",
    "av1": "AV1",
    "vp8": "VP8",
    "vp9": "VP9",
    "mpeg2video": "MPEG-2",
    "mpeg4": "MPEG-4",
    "prores": "ProRes",
}
MOST_NAMED = 10  # clips in one sentence


def conformed(made: Sequence[Clip], to: Target, why: Mapping[int, str]) -> list[str]:
    """One sentence for the clips that were alike and had to be made like the others. `why` has the reasons, by the segment's number, of
    those whose pictures are no different."""
    said: dict[tuple[str, str], list[int]] = {}
    for clip in made:
        if fate := _fate(clip, to, why.get(clip.number)):
            said.setdefault(fate, []).append(clip.number + 1)
    return [_counted(numbers, facts, fate) for (facts, fate), numbers in said.items()]


def _counted(numbers: list[int], facts: str, fate: str) -> str:
    return f"{_named(numbers)} ({facts}) {'was' if len(numbers) == 1 else 'were'} {fate}."


def _named(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"Clip {numbers[0]}"
    listed = [*map(str, numbers[:MOST_NAMED]), *([f"{len(numbers) - MOST_NAMED} more"] if len(numbers) > MOST_NAMED else [])]
    return f"Clips {', '.join(listed[:-1])} and {listed[-1]}"


def _fate(clip: Clip, to: Target, reason: str | None) -> tuple[str, str] | None:
    """(what the clip was, what became of it); None when nothing did that the request did not ask for."""
    rate = clip.rate
    if clip.picture is None:
        return "no picture", "given a black one"
    before, after = _facts(clip.picture, to)
    if to.frame_rate is None:
        rate = clips.rate(clip.picture)
    own, new = f"{_size(clip.picture)} at {_rate(clips.rate(clip.picture))}", f"{_shown(to)} at {_rate(rate)}"
    if not before and not after and own == new:
        return (own, f"encoded anew: {reason}") if reason else None
    return ", ".join([own, *before]), "conformed to " + ", ".join([new, *after])


def _facts(picture: Stream, to: Target) -> tuple[list[str], list[str]]:
    """What differs besides size and rate: as it was, and as it became."""
    before, after = [], []
    if picture.codec != to.codec:
        before.append(NAMES.get(picture.codec, picture.codec))
        after.append(NAMES.get(to.codec, to.codec))
    if clips.turn(picture) != (False, to.rotation // 90):
        before.append("turned" if not clips.turn(picture)[0] else "mirrored")
        after.append("turned" if to.rotation else "upright")
    if (picture.sample_aspect or 1) != to.sample_aspect:
        before.append(f"pixels {_ratio(picture.sample_aspect or Fraction(1))}")
        after.append(f"pixels {_ratio(to.sample_aspect)}")
    if picture.interlaced:
        before.append("interlaced")
        after.append("progressive")
    hdr = picture.color_transfer in clips.HDR, to.transfer in clips.HDR
    if hdr[0] != hdr[1]:
        before.append("HDR" if hdr[0] else "standard brightness")
        after.append("HDR" if hdr[1] else "standard brightness")
    return before, after


def _size(picture: Stream) -> str:
    return f"{picture.width}x{picture.height}"


def _shown(to: Target) -> str:
    return f"{to.width}x{to.height}"


def _ratio(aspect: Fraction) -> str:
    return f"{aspect.numerator}:{aspect.denominator}"


def _rate(rate: Fraction) -> str:
    return f"{float(rate):.5g} frames/s"


def sounds(edit: Edit, sources: Sequence[Source]) -> list[str]:
    """Clips without sound where others have some, and tracks that a merge leaves out."""
    said = []
    heard = [bool(sources[s.source].index.audio) for s in edit.segments]
    silent = [n for n, has in enumerate(heard, 1) if not has]
    if any(heard) and silent:
        said.append(f"{_named(silent)} {'has no sound, so it is' if len(silent) == 1 else 'have no sound, so they are'} silent.")
    return said
