"""Numbers as people read them."""

from __future__ import annotations

import datetime


def size(count: float) -> str:
    """Bytes: `812 B`, `21.9 MB`; powers of a thousand, as disks and networks are sold."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def share(part: float, whole: float) -> str:
    """`3.1 %`; more digits where it would otherwise be 0."""
    percent = 100 * part / whole if whole else 0.0
    return f"{percent:.0f} %" if percent >= 10 or not percent else f"{percent:.1f} %" if percent >= 0.1 else f"{percent:.2g} %"


def seconds(value: float) -> str:
    """A span of time: `0.8 s`, `42 s`, `3 min 5 s`, `2 h 10 min`."""
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def clock(value: float) -> str:
    """A place in a film: `0:12.540`, `1:02:03.000`."""
    thousandths = round(value * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    tail = f"{minutes % 60:02}:{rest // 1000:02}.{rest % 1000:03}" if minutes >= 60 else f"{minutes}:{rest // 1000:02}.{rest % 1000:03}"
    return f"{minutes // 60}:{tail}" if minutes >= 60 else tail


def ago(moment: str | None, now: datetime.datetime | None = None) -> str:
    """How long ago an RFC 3339 moment was: `just now`, `3 min ago`, `2 days ago`."""
    if not moment:
        return "–"
    then = datetime.datetime.fromisoformat(moment)
    span = ((now or datetime.datetime.now(datetime.UTC)) - then).total_seconds()
    if span < 5:
        return "just now"
    for limit, unit, name in ((60, 1, "s"), (3600, 60, "min"), (86_400, 3600, "h")):
        if span < limit:
            return f"{int(span // unit)} {name} ago"
    days = int(span // 86_400)
    return f"{days} day{'s' if days > 1 else ''} ago"
