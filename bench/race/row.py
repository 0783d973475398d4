"""A row of the benchmark: who takes part, what its outputs must show, what the costs must reach; and running it, paired."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from bench.race.clock import Failed
from bench.race.result import Entry, Measure, Outcome, Sample, Seen, Verdict, paired

OURS = "nve"
NAMES = {"wall_seconds": "wall", "cpu_seconds": "CPU", "peak_bytes": "memory", "read_bytes": "bytes read", "sent_bytes": "bytes sent"}


@dataclass(frozen=True)
class Contestant:
    """`make` makes the output at a path and says what it cost, or raises `Failed`. `absent` says how to install what is not there."""

    name: str
    make: Callable[[Path], Sample]
    suffix: str = ".mp4"
    once: bool = False  # too slow to be run every time
    looked_at: bool = True  # False: it does a part of the work, for comparison
    absent: str | None = None


@dataclass(frozen=True)
class Ratio:
    """`of` may take at most `at_most` times what `over` takes in the same run."""

    measure: Measure
    over: str
    at_most: Fraction
    of: str = OURS

    def judge(self, entries: Mapping[str, Entry]) -> Verdict:
        what, required = f"{NAMES[self.measure]}: {self.of} / {self.over}", f"≤ {fraction(self.at_most)}"
        if entries[self.over].failed and not entries[self.of].failed:
            return Verdict(what, None, required, None, f"not judged: {entries[self.over].failed}")
        value = paired(entries[self.of].values(self.measure), entries[self.over].values(self.measure))
        if value is None:
            return Verdict(what, None, required, False, "not measured")
        return Verdict(what, value, required, value <= self.at_most, ratio(value))


@dataclass(frozen=True)
class AtMost:
    """A figure of ours that may be at most so much. `value` gives None for what was not measured, which is a miss."""

    what: str
    value: Callable[[Mapping[str, Entry]], float | None]
    at_most: float
    percent: bool = False

    def judge(self, entries: Mapping[str, Entry]) -> Verdict:
        def words(value: float) -> str:
            return f"{100 * value:.1f} %" if self.percent else f"{value:g}"

        value = self.value(entries)
        said = "not measured" if value is None else words(value)
        return Verdict(self.what, value, f"≤ {words(self.at_most)}", value is not None and value <= self.at_most, said)


@dataclass(frozen=True)
class Identical:
    """All frames of ours have the pixels of their sources'."""

    frames: int

    def judge(self, entries: Mapping[str, Entry]) -> Verdict:
        seen = entries[OURS].seen
        count = seen.identical if seen else None
        said = "not looked at" if count is None else str(count)
        return Verdict("frames identical to the sources', decoded", count, f"= {self.frames}", count == self.frames, said)


Bound = Ratio | AtMost | Identical


@dataclass(frozen=True)
class Row:
    """The first contestant is ours. `look` decodes an output and compares it with what was asked for."""

    name: str
    title: str
    contestants: Sequence[Contestant]
    look: Callable[[Path], Seen]
    bounds: Sequence[Bound] = ()
    headline: Measure = "cpu_seconds"


def run(row: Row, runs: int, folder: Path, say: Callable[[str], None], *, judged: bool = True) -> Outcome:
    """All contestants one after the other, `runs` times; the outputs of the first time are looked at.

    What outputs show is always judged, what they cost only where the clips are those that the bounds are meant for."""
    samples: dict[str, list[Sample]] = {it.name: [] for it in row.contestants}
    seen: dict[str, Seen] = {}
    failed = {it.name: it.absent for it in row.contestants if it.absent}
    for number in range(runs):
        for contestant in row.contestants:
            name = contestant.name
            if name in failed or (number and contestant.once):
                continue
            say(f"{row.name}: run {number + 1} of {runs}, {name} …")
            room = Path(tempfile.mkdtemp(dir=folder))
            output = room / f"output{contestant.suffix}"
            try:
                samples[name].append(contestant.make(output))
                if number == 0 and contestant.looked_at:
                    seen[name] = _look(row, output)
            except Failed as exc:
                failed[name] = str(exc)
            finally:
                shutil.rmtree(room, ignore_errors=True)
    entries = tuple(Entry(name, tuple(them), seen.get(name), failed.get(name)) for name, them in samples.items())
    known = {entry.name: entry for entry in entries}
    shown = seen.get(row.contestants[0].name)
    verdicts = [bound.judge(known) for bound in row.bounds]
    if not judged:
        verdicts = [replace(it, holds=None) for it in verdicts]
    right, words = shown is not None and shown.right, shown.words if shown else "no output"
    exact = Verdict("shows what was asked for", None, "exactly", right, words)
    return Outcome(row.name, row.title, row.headline, entries, (exact, *verdicts))


def _look(row: Row, output: Path) -> Seen:
    try:
        return row.look(output)
    except Exception as exc:  # a file that cannot be decoded is a finding
        return Seen(False, f"cannot be decoded ({type(exc).__name__})")


def fraction(value: Fraction) -> str:
    """1/6, 1.5, 1: as the bounds are written."""
    return f"1/{value.denominator}" if value.numerator == 1 and value.denominator > 1 else f"{float(value):g}"


def ratio(value: float) -> str:
    """A measured ratio as people say it: 1/23 or 1.31."""
    return f"{value:.2f}" if value >= 0.5 else f"1/{1 / value:.1f}" if value > 0 else "0"
