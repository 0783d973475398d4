"""Joining clips that disagree: everything is made to be like the first clip, encoded once, and counted afterwards.

The target is the first picture's upright size in square pixels, its frame rate and its colours, and the first sound's rate and channels.
Pictures of another shape get black bars, clips without sound get silence, sources without a picture get black.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

from native import errors
from native.media import clips, graph, index, inputs, process, verify
from native.media.clips import Clip, Target
from native.media.cut import Promise
from native.media.edit import Edit
from native.media.index import Index
from native.media.made import Made
from native.media.source import Readable

MOST_CLIPS = 24  # at once: each costs a decoder with its pictures, 25 MB at 1080p


def render(edit: Edit, sources: Sequence[Readable], room: Path, report: Callable[[int, int], None]) -> Made:
    """Make the edit by encoding all of it. Raises RANGE_EMPTY, SOURCE_…, CODEC_UNSUPPORTED, TOO_HEAVY, VERIFY_FAILED."""
    if len(edit.segments) > MOST_CLIPS:
        raise errors.SOURCE_TOO_COMPLEX(f"Clips that differ can be joined up to {MOST_CLIPS} at a time; join some of them first.")
    indexes = {number: index.of(sources[number]) for number in sorted({segment.source for segment in edit.segments})}
    to = clips.target([indexes[segment.source].media for segment in edit.segments])
    plan = clips.resolve(edit, indexes, to)
    promise = _promise(plan, to, edit.output.container)
    out = room / f"output.{edit.output.container}"

    def on_line(line: str) -> None:
        name, _, value = line.partition("=")
        if name == "frame" and value.isdigit():
            report(min(int(value), promise.encoded), promise.encoded)

    with inputs.put(plan, indexes, room) as files:
        try:
            process.ffmpeg(graph.command(plan, files, to, edit.output.container, out.name), room, on_line=on_line)
        except process.Failed as exc:
            raise _blame(exc) from exc
    result = verify.check(out, promise, edit.output.container)
    return Made(
        path=out,
        container=edit.output.container,
        size=result.media.size,
        duration=result.media.duration,
        frames=promise.encoded,
        copied_frames=0,
        primed_frames=0,
        encoded_frames=promise.encoded,
        streams=result.media.streams,
        warnings=tuple(_differences(plan, indexes, to)),
    )


def _promise(plan: Sequence[Clip], to: Target, container: str) -> Promise:
    """What the result must be: FFmpeg's exit code 0 proves nothing."""
    frames, samples = sum(clip.frames for clip in plan), sum(clip.samples for clip in plan)
    return Promise(
        times=range(frames),
        time_base=1 / to.frame_rate,
        end=frames,
        seams=(),
        sounds=1 if to.sample_rate else 0,
        sound_seconds=Fraction(samples, to.sample_rate) if to.sample_rate else Fraction(0),
        copied=0,
        encoded=frames,
        # Matroska counts in milliseconds
        slack=Fraction(1, 1000) if container in ("mkv", "webm") else Fraction(0),
    )


def _blame(failed: process.Failed) -> errors.Problem:
    if failed.exhausted:
        return errors.TOO_HEAVY()
    if "not on whitelist" in failed.stderr:
        return errors.CODEC_UNSUPPORTED()
    return errors.SOURCE_UNREADABLE()


def _differences(plan: Sequence[Clip], indexes: dict[int, Index], to: Target) -> list[str]:
    """What each clip had to give up, in the words of the request: clips are counted from 1."""
    said = []
    for clip in plan:
        changes = [*_picture_changes(clip, to), *_sound_changes(clip, to)]
        if changes:
            said.append(f"Clip {clip.number + 1} was changed to fit the first: {'; '.join(changes)}.")
        media = indexes[clip.source].media
        left = [kind for kind in ("subtitle", "data") if any(s.kind == kind for s in media.streams)]
        if len(media.audio) > 1:
            left.insert(0, "extra sound")
        if left:
            said.append(f"Clip {clip.number + 1}: {' and '.join(left)} tracks were left out.")
    if len(plan) > 1 and said:
        said.insert(0, "All clips were re-encoded, because they differ.")
    return said


def _picture_changes(clip: Clip, to: Target) -> list[str]:
    picture = clip.picture
    if not to.width:
        return []
    if picture is None:
        return ["no picture, so black is shown"]
    changes = []
    if picture.rotation:
        changes.append(f"turned upright by {picture.rotation}°")
    width, height = (round(side) for side in clips.shape(picture))
    if (width // 2 * 2, height // 2 * 2) != (to.width, to.height):
        changes.append(f"{width}×{height} became {to.width}×{to.height}")
    if clips.rate(picture) != to.frame_rate:
        changes.append(f"{float(picture.frame_rate or 0):.5g} became {float(to.frame_rate):.5g} frames per second")
    if picture.color_transfer in (16, 18) and to.transfer not in (16, 18):
        changes.append("HDR brightness was not converted")
    return changes


def _sound_changes(clip: Clip, to: Target) -> list[str]:
    if not to.sample_rate:
        return []
    if clip.sound is None:
        return ["no sound, so it is silent"]
    changes = []
    if clip.sound.sample_rate != to.sample_rate:
        changes.append(f"{clip.sound.sample_rate} Hz became {to.sample_rate} Hz")
    if clips.LAYOUTS.get(clip.sound.channels or 2) != to.layout:
        changes.append(f"{clip.sound.layout} sound became {to.layout}")
    return changes
