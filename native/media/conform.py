"""Joining clips that disagree: everything is made to be like the first clip, encoded once, and counted afterwards.

The target is the first picture's upright size in square pixels, its frame rate and its colours, and the first sound's rate and channels.
Pictures of another shape get black bars, clips without sound get silence, sources without a picture get black.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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

MOST_CLIPS = 16  # at once: each costs a decoder with its pictures, 25 MB at 1080p


def render(edit: Edit, sources: Sequence[Readable], room: Path, report: Callable[[int, int], None]) -> Made:
    """Make the edit by encoding all of it. Raises RANGE_EMPTY, SOURCE_…, CODEC_UNSUPPORTED, TOO_HEAVY, VERIFY_FAILED."""
    indexes = {number: index.of(sources[number]) for number in sorted({segment.source for segment in edit.segments})}
    to = clips.target([indexes[segment.source].media for segment in edit.segments])
    plan = clips.resolve(edit, indexes, to)
    promise = _promise(plan, to, edit.output.container)
    out = room / f"output.{edit.output.container}"
    _Run(indexes, to, room, report, promise.encoded).make(plan, out)
    result = verify.check(out, promise, edit.output.container)
    verify.remember(out, promise)
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


@dataclass
class _Run:
    """FFmpeg at work: once for a few clips; for many in parts, because every clip that is open costs a decoder and its pictures."""

    indexes: Mapping[int, Index]
    to: Target
    room: Path
    report: Callable[[int, int], None]
    total: int
    done: int = 0

    def make(self, plan: Sequence[Clip], out: Path) -> None:
        """Write `out`. Raises TOO_HEAVY, CODEC_UNSUPPORTED, SOURCE_UNREADABLE."""
        container = out.suffix[1:]
        if len(plan) <= MOST_CLIPS:
            self._encode(plan, container, out, part=False)
            return
        parts: list[Path] = []
        playlist, time = ["ffconcat version 1.0"], Fraction(0)
        try:
            for number, first in enumerate(range(0, len(plan), MOST_CLIPS)):
                some = plan[first : first + MOST_CLIPS]
                parts.append(self.room / f"part{number}.{graph.PARTS[container]}")
                self._encode(some, container, parts[-1], part=True)
                end = time + self._length(some)
                playlist += [f"file {parts[-1].name}", f"duration {round(end * 1_000_000) - round(time * 1_000_000)}us"]
                time = end
            parts.append(self.room / "parts")
            parts[-1].write_text("\n".join(playlist))
            self._run(graph.joining("parts", self.to, container, out.name), on_frame=None)
        finally:
            for part in parts:
                part.unlink(missing_ok=True)

    def _length(self, clips_: Sequence[Clip]) -> Fraction:
        """Seconds that the clips last in the result."""
        if self.to.width:
            return sum(clip.frames for clip in clips_) / self.to.frame_rate
        return Fraction(sum(clip.samples for clip in clips_), self.to.sample_rate)

    def _encode(self, plan: Sequence[Clip], container: str, out: Path, *, part: bool) -> None:
        with inputs.put(plan, self.indexes, self.room) as files:
            self._run(
                graph.command(plan, files, self.to, container, out.name, part=part),
                on_frame=lambda frame: self.report(min(self.done + frame, self.total), self.total),
            )
        self.done += sum(clip.frames for clip in plan)

    def _run(self, arguments: list[str], on_frame: Callable[[int], None] | None) -> None:
        def on_line(line: str) -> None:
            name, _, value = line.partition("=")
            if on_frame and name == "frame" and value.isdigit():
                on_frame(int(value))

        try:
            process.ffmpeg(arguments, self.room, on_line=on_line)
        except process.Failed as exc:
            raise _blame(exc) from exc


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
        primed=0,
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


def _differences(plan: Sequence[Clip], indexes: Mapping[int, Index], to: Target) -> list[str]:
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
    if picture.color_transfer in clips.HDR and to.transfer not in clips.HDR:
        changes.append("HDR became standard brightness")
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
