"""One way to print a measurement: what, median of the runs, spread, bound, and whether it holds."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """`values` in `unit`; the median has to be at most `bound`."""

    what: str
    values: Sequence[float]
    unit: str
    bound: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def holds(self) -> bool:
        return self.bound is None or self.median <= self.bound

    def __str__(self) -> str:
        spread = f"{min(self.values):.3g}–{max(self.values):.3g}" if len(self.values) > 1 else ""
        bound = f"≤ {self.bound:g}" if self.bound is not None else ""
        verdict = "" if self.bound is None else "ok" if self.holds else "MISSED"
        return f"{self.what:58} {self.median:>9.3g} {self.unit:4} {spread:>16} {bound:>9} {verdict}"


def machine() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}, Python {platform.python_version()}"


def show(title: str, rows: Sequence[Row]) -> int:
    """Print the rows; the exit code says whether every bound holds."""
    print(f"\n{title}   ({machine()})")
    print(f"{'':58} {'median':>9} {'':4} {'min–max':>16} {'bound':>9}")
    for row in rows:
        print(row)
    return 0 if all(row.holds for row in rows) else 1
