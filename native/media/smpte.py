"""Timecodes of SMPTE ST 12-1: labels of frames, of which the drop-frame kind leaves some numbers out to keep up with the clock."""

from __future__ import annotations

import re
from fractions import Fraction

_LABEL = re.compile(r"(\d\d?):(\d\d):(\d\d)([:;.])(\d\d\d?)", re.ASCII)
DAY = 24 * 60  # minutes


def later(label: str, frames: int, rate: Fraction) -> str | None:
    """The label `frames` after a label, at `rate` frames a second. None for what is no label."""
    found = _LABEL.fullmatch(label)
    nominal = round(rate)
    if found is None or nominal <= 0:
        return None
    hours, minutes, seconds, mark, rest = int(found[1]), int(found[2]), int(found[3]), found[4], int(found[5])
    # of 30 numbers a second 2 are dropped in every minute but the tenth, of 60 it is 4 (§9.3)
    dropped = nominal // 15 if mark != ":" else 0
    whole = hours * 60 + minutes
    count = (whole * 60 + seconds) * nominal + rest - dropped * (whole - whole // 10)
    count = (count + frames) % (DAY * 60 * nominal - dropped * DAY * 9 // 10)
    tens, left = divmod(count, 600 * nominal - 9 * dropped)
    minute = 0 if left < 60 * nominal else 1 + (left - 60 * nominal) // (60 * nominal - dropped)
    count += dropped * (9 * tens + minute)
    seconds, rest = divmod(count, nominal)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{mark}{rest:02}"
