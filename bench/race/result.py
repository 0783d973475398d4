"""What a race found: what each run cost, what each output shows, which bounds hold. Plain values that travel as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Measure = Literal["wall_seconds", "cpu_seconds", "peak_bytes", "read_bytes", "sent_bytes"]


@dataclass(frozen=True)
class Sample:
    """What one run cost. `peak_bytes` is the resident memory of its largest process; None is for what was not counted."""

    wall_seconds: float
    cpu_seconds: float  # user and system, of all its processes
    peak_bytes: int
    read_bytes: int | None = None  # of its sources
    sent_bytes: int | None = None  # to the store
    copied_frames: int | None = None
    primed_frames: int | None = None
    encoded_frames: int | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seen:
    """What a decoder made of an output. `right`: exactly the frames that were asked for, in order, with their sound."""

    right: bool
    words: str
    identical: int | None = None  # frames with the very pixels of their source's, where that is counted


@dataclass(frozen=True)
class Entry:
    """A contestant's runs in one row. `failed` says why there are none."""

    name: str
    samples: tuple[Sample, ...] = ()
    seen: Seen | None = None
    failed: str | None = None

    def values(self, measure: Measure) -> tuple[float, ...]:
        """What its runs took; empty when one of them did not count it."""
        found = [getattr(sample, measure) for sample in self.samples]
        return () if None in found else tuple(found)

    def median(self, measure: Measure) -> float | None:
        values = self.values(measure)
        return statistics.median(values) if values else None


@dataclass(frozen=True)
class Verdict:
    """One bound of a row. `value` is None when it could not be measured, which is a miss, unless the peer is not installed."""

    what: str
    value: float | None
    required: str
    holds: bool | None  # None: not judged
    words: str = ""  # the value, for people


@dataclass(frozen=True)
class Outcome:
    """A finished row. `headline` is the measure that its bars show."""

    name: str
    title: str
    headline: Measure
    entries: tuple[Entry, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def holds(self) -> bool:
        return all(verdict.holds is not False for verdict in self.verdicts)


@dataclass(frozen=True)
class Race:
    """A whole run of the benchmark."""

    machine: str
    load: float  # of the machine when the run began, as uptime(1) says: what else it was doing
    date: str
    quick: bool
    runs: int
    versions: dict[str, str]
    outcomes: tuple[Outcome, ...] = field(default_factory=tuple)
    left_out: tuple[str, ...] = ()  # rows that were not run

    def document(self) -> dict[str, Any]:
        return asdict(self)


def load(document: dict[str, Any]) -> Race:
    """The race that `Race.document` was made from."""
    return Race(
        **{
            **document,
            "left_out": tuple(document["left_out"]),
            "outcomes": tuple(
                Outcome(
                    **{
                        **outcome,
                        "entries": tuple(_entry(entry) for entry in outcome["entries"]),
                        "verdicts": tuple(Verdict(**verdict) for verdict in outcome["verdicts"]),
                    }
                )
                for outcome in document["outcomes"]
            ),
        }
    )


def _entry(entry: dict[str, Any]) -> Entry:
    samples = tuple(Sample(**{**sample, "warnings": tuple(sample["warnings"])}) for sample in entry["samples"])
    return Entry(entry["name"], samples, Seen(**entry["seen"]) if entry["seen"] else None, entry["failed"])


def paired(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """The median of the ratios of runs that followed each other; where a slow peer ran less often, its last run stands for the rest."""
    if not ours or not theirs:
        return None
    return statistics.median(a / theirs[min(n, len(theirs) - 1)] for n, a in enumerate(ours))
