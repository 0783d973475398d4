"""What people and programs see. Results go to stdout; what is going on goes to stderr, as bars on a terminal and as lines elsewhere.

With --json, stdout holds exactly one JSON document, also when the command fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from cli import failure, figures

if TYPE_CHECKING:
    from rich.console import Console

# Elsewhere than on a terminal one line a task is enough, and one more now and then shows that it lives.
LINE_SECONDS = 10.0


class Screen:
    """Where one command writes."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json

    def say(self, text: str) -> None:
        """What is going on, for people."""
        print(text, file=sys.stderr, flush=True)

    def result(self, document: Any, human: Callable[[], None] | None = None) -> None:
        """What came of it: the document for programs, `human()` for people."""
        if self.as_json:
            print(json.dumps(document, ensure_ascii=False), flush=True)
        elif human:
            human()

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
        """Rows for people, on stdout; columns with the numbers in `right` are aligned to the right."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for number, head in enumerate(heads):
            table.add_column(head, justify="right" if number in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*row)
        console(sys.stdout).print(table)

    @contextlib.contextmanager
    def bars(self) -> Iterator[Bars]:
        """Progress of things that take a while, as long as the block lasts."""
        bars: Bars = Drawn(console(sys.stderr)) if sys.stderr.isatty() else Lines(self)
        with bars:
            yield bars


def console(file: TextIO) -> Console:
    """Rich, which leaves colours out for NO_COLOR and pipes by itself. A pipe has no width, so nothing is folded for it."""
    from rich.console import Console

    return Console(file=file, highlight=False, markup=False, emoji=False, width=None if file.isatty() or "COLUMNS" in os.environ else 200)


class Bar:
    """One thing that takes a while. `total` is in bytes or percent; None when it is not known how long it takes."""

    def move(self, done: float, note: str = "") -> None:
        """So much of it is done."""

    def end(self, text: str) -> None:
        """It is done, and this is how it went."""


class Bars:
    def add(self, text: str, total: float | None = None, *, unit: str = "bytes") -> Bar:
        raise NotImplementedError

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


class Lines(Bars):
    """For pipes and logs."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def add(self, text: str, total: float | None = None, *, unit: str = "bytes") -> Bar:  # noqa: ARG002 (a share is a share)
        self._screen.say(f"{text} …")
        return _Line(self._screen, text, total)


class _Line(Bar):
    def __init__(self, screen: Screen, text: str, total: float | None) -> None:
        self._screen, self._text, self._total = screen, text, total
        self._said = time.monotonic()
        self._lock = threading.Lock()

    def move(self, done: float, note: str = "") -> None:
        with self._lock:
            if time.monotonic() - self._said < LINE_SECONDS:
                return
            self._said = time.monotonic()
        amount = f" {figures.share(done, self._total)}" if self._total else ""
        self._screen.say(f"{self._text} …{amount}{' ' + note if note else ''}")

    def end(self, text: str) -> None:
        self._screen.say(text)


class Drawn(Bars):
    """For terminals."""

    def __init__(self, on: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=32), TextColumn("{task.fields[note]}"), console=on, transient=True
        )

    def add(self, text: str, total: float | None = None, *, unit: str = "bytes") -> Bar:
        return _Drawn(self._progress, self._progress.add_task(text, total=total, note=""), total, unit)

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()


class _Drawn(Bar):
    def __init__(self, progress: Any, task: Any, total: float | None, unit: str) -> None:
        self._progress, self._task, self._total, self._unit = progress, task, total, unit
        self._began = time.monotonic()

    def move(self, done: float, note: str = "") -> None:
        if self._unit == "bytes" and self._total:
            rate = done / max(time.monotonic() - self._began, 0.1)
            note = f"{figures.size(done)} of {figures.size(self._total)}, {figures.size(rate)}/s"
        elif self._total:
            note = f"{figures.share(done, self._total)}{'  ' + note if note else ''}"
        self._progress.update(self._task, completed=done, note=note)

    def end(self, text: str) -> None:
        self._progress.update(self._task, visible=False)
        self._progress.console.print(text)


def guard(run: Callable[[list[str]], Any], arguments: list[str]) -> int:
    """Run a command line; turn whatever ends it into its exit code, one sentence on stderr and, with --json, one document on stdout."""
    as_json = "--json" in arguments
    try:
        code = run(arguments)
    except Exception as exc:
        known = _usage(exc) or failure.of(exc)
        if known is None:
            if as_json:
                print(json.dumps({"error": {"code": "internal", "message": "nve itself failed; see standard error"}}))
            raise
        return _failed(known, as_json)
    if code == failure.INTERRUPTED:  # typer's answer to Ctrl-C
        return _failed(failure.Interrupted("Interrupted."), as_json)
    return code if isinstance(code, int) else 0


def _usage(exc: Exception) -> failure.Failure | None:
    """What is wrong with the command line, when that is what typer says."""
    from typer import TyperException

    if not isinstance(exc, TyperException):
        return None
    context = getattr(exc, "ctx", None)
    sentence = exc.format_message()
    return failure.Usage(f"{sentence} See `{context.command_path if context else 'nve'} --help`.")


def _failed(why: failure.Failure, as_json: bool) -> int:
    if as_json:
        print(json.dumps(why.document, ensure_ascii=False), flush=True)
    console(sys.stderr).print(f"nve: {why.sentence}", style="red", soft_wrap=True)
    return why.exit_code
