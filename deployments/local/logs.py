"""The log files of the stack: kept small, shown, followed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from .home import Home

MAX_BYTES = 8 << 20


def rotate(paths: Iterable[Path]) -> None:
    """Move what grew too large aside, one generation of it. The functions' logs are the gateway's to rotate.

    The writers hold the files open, in append mode: so the content is copied and the file cut, and a line of that moment may be lost.
    """
    for path in paths:
        with contextlib.suppress(OSError):
            if path.stat().st_size > MAX_BYTES:
                old = path.with_suffix(".log.1")
                with path.open("rb+") as file, old.open("wb") as kept:
                    file.seek(-MAX_BYTES, 2)
                    while block := file.read(1 << 20):
                        kept.write(block)
                    file.truncate(0)


def names(home: Home) -> list[str]:
    return sorted(path.stem for path in (home.path / "logs").glob("*.log"))


def last(home: Home, name: str, lines: int) -> list[str]:
    """The last lines of one log; none when there is no such log."""
    try:
        with _path(home, name).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - (lines + 1) * 512))
            return file.read().decode(errors="replace").splitlines()[-lines:] if lines else []
    except OSError:
        return []


def follow(home: Home, name: str | None = None, lines: int = 20) -> Iterator[tuple[str, str]]:
    """(name, line) of one log or of all: the last ones, then new ones as they come, for ever."""
    at: dict[str, int] = {}
    rest: dict[str, bytes] = {}
    for each in [name] if name else names(home):
        at[each] = _size(home, each)
        for line in last(home, each, lines):
            yield each, line
    while True:
        quiet = True
        for each in [name] if name else names(home):
            size, position = _size(home, each), at.get(each, 0)
            if size == position:
                continue
            quiet = False
            with contextlib.suppress(OSError), _path(home, each).open("rb") as file:
                file.seek(position if size > position else 0)  # smaller than it was: it has been rotated
                *whole, rest[each] = (rest.get(each, b"") + file.read()).split(b"\n")
                at[each] = file.tell()
                for line in whole:
                    yield each, line.decode(errors="replace")
        if quiet:
            time.sleep(0.2)


def _path(home: Home, name: str) -> Path:
    return home.path / "logs" / f"{name}.log"


def _size(home: Home, name: str) -> int:
    try:
        return _path(home, name).stat().st_size
    except OSError:
        return 0
