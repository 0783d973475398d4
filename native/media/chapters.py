"""The chapters of an output: those of every segment, cut to it and at its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from av.container import InputContainer

from native.media.stretches import Stretch

MILLISECOND = Fraction(1, 1000)


@dataclass(frozen=True)
class Chapter:
    """Seconds of the output, and the words of the source."""

    begin: Fraction
    end: Fraction
    words: dict[str, str]

    def entry(self, number: int) -> dict[str, Any]:
        """As libavformat takes it."""
        times = {"start": round(self.begin / MILLISECOND), "end": round(self.end / MILLISECOND)}
        return {"id": number, **times, "time_base": MILLISECOND, "metadata": self.words}


def of(container: InputContainer) -> list[Chapter]:
    """A source's chapters, in seconds of its own clock."""
    found = []
    for chapter in container.chapters():
        tb = Fraction(chapter["time_base"] or MILLISECOND)
        found.append(Chapter(chapter["start"] * tb, chapter["end"] * tb, chapter["metadata"]))
    return found


def placed(stretches: Sequence[Stretch], chapters_of: Callable[[Stretch], Sequence[Chapter]]) -> list[Chapter]:
    """The chapters of the output. One that goes on over a join that its source does not notice stays one."""
    found: list[Chapter] = []
    for n, stretch in enumerate(stretches):
        goes_on = n > 0 and stretches[n - 1].leads_to(stretch)
        for chapter in chapters_of(stretch):
            begin, end = max(chapter.begin, stretch.begin), min(chapter.end, stretch.finish)
            if end <= begin:
                continue
            moved = Chapter(stretch.at + begin - stretch.begin, stretch.at + end - stretch.begin, chapter.words)
            if goes_on and found and found[-1].end == moved.begin and found[-1].words == moved.words:
                found[-1] = replace(found[-1], end=moved.end)
            else:
                found.append(moved)
    return found


def filled(known: Sequence[Chapter]) -> list[Chapter]:
    """The same with chapters without a name in between, for MP4: there every chapter lasts to the next one, and the first begins at 0."""
    found, at = [], Fraction(0)
    for chapter in known:
        if chapter.begin > at:
            found.append(Chapter(at, chapter.begin, {"title": ""}))
        found.append(chapter)
        at = max(at, chapter.end)
    return found
