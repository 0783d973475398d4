"""Clips whose pictures do not fit their neighbours', each made like the others by FFmpeg, in a file that is then a source as any other.

Pictures of another shape get black bars; sources without a picture get black. The sound is not touched here: it always comes from the
sources themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import accumulate, groupby
from pathlib import Path

from native import errors
from native.media import graph, index, inputs, plan, process, splice
from native.media.clips import Clip, Target
from native.media.pieces import Part
from native.media.source import Blocks, FileSource

MOST_CLIPS = 16  # of one run of FFmpeg: each costs a decoder with its pictures, 25 MB at 1080p

Span = tuple[int, Fraction, Fraction, int]  # what makes two clips the same: source, begin, finish, frames


@dataclass
class Workshop:
    """Makes the files, and closes and removes them at its end."""

    sources: list[splice.Source]  # those of the edit; every file made here becomes one more
    room: Path
    report: Callable[[int], None]  # frames made so far
    done: int = 0
    _made: dict[Span, tuple[int, int]] = field(default_factory=dict)  # where a clip lies: source, first frame
    _open: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Workshop:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def parts(self, asked: Sequence[Clip], to: Target) -> Iterator[tuple[int, Part]]:
        """(number of the segment, its part) of every clip; what occurs twice is made once. Raises TOO_HEAVY, CODEC_UNSUPPORTED,
        SOURCE_UNREADABLE, and NotCopyable when the codec's way does not take what was made."""
        wanted = {_span(clip): clip for clip in reversed(asked) if _span(clip) not in self._made}
        for _, alike in groupby(reversed(wanted.values()), key=lambda clip: clip.rate):
            some = list(alike)
            for first in range(0, len(some), MOST_CLIPS):
                self._make(some[first : first + MOST_CLIPS], to)
        for clip in asked:
            number, first = self._made[_span(clip)]
            part = plan.taken(number, self.sources[number], first, first + clip.frames)
            length = clip.frames / clip.rate
            yield clip.number, replace(part, heard=clip.part.source, begin=clip.part.begin, finish=clip.part.begin + length)

    def _make(self, some: Sequence[Clip], to: Target) -> None:
        """One file of some clips, one behind the other."""
        number = len(self.sources)
        path = self.room / f"conformed{number}.mp4"
        self._open.callback(path.unlink, missing_ok=True)
        try:
            self._encode(some, to, path, whole=False)
        except process.Failed as exc:
            if exc.exhausted or not any(clip.picture for clip in some):
                raise _blame(exc) from exc
            path.unlink(missing_ok=True)
            try:
                self._encode(some, to, path, whole=True)
            except process.Failed as again:
                raise _blame(again) from again
        made = splice.Source(index.build(Blocks(self._open.enter_context(FileSource(path)))))
        frames = sum(clip.frames for clip in some)
        if made.track is None or len(made.track.pts) != frames:
            raise errors.SOURCE_UNREADABLE("Some frames of a source cannot be decoded.")
        self.sources.append(made)
        firsts = accumulate((clip.frames for clip in some[:-1]), initial=0)
        self._made.update({_span(clip): (number, first) for clip, first in zip(some, firsts, strict=True)})
        self.done += frames

    def _encode(self, some: Sequence[Clip], to: Target, path: Path, *, whole: bool) -> None:
        def on_line(line: str) -> None:
            name, _, value = line.partition("=")
            if name == "frame" and value.isdigit():
                self.report(self.done + int(value))

        with inputs.put(some, self.sources, self.room, whole=whole) as files:
            process.ffmpeg(graph.command(some, files, to, path.name), self.room, on_line=on_line)


def _span(clip: Clip) -> Span:
    return clip.part.source, clip.part.begin, clip.part.finish, clip.frames


def _blame(failed: process.Failed) -> errors.Problem:
    if failed.exhausted:
        return errors.TOO_HEAVY()
    if "not on whitelist" in failed.stderr:
        return errors.CODEC_UNSUPPORTED()
    return errors.SOURCE_UNREADABLE()
