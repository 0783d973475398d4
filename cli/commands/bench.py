"""nve bench: the measurements behind the README's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import ROOT, AsJson
from cli.screen import Screen


def add(app: typer.Typer) -> None:
    app.command(rich_help_panel="Prove")(bench)


def bench(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME…]", help="Some of them; all when left out.")] = None,
    *,
    only: Annotated[list[str] | None, typer.Option(metavar="ROW", help="cut: this row only; again for more.")] = None,
    runs: Annotated[int | None, typer.Option(min=1, help="cut: how often everything is run.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="cut: small pictures and short clips, to see that it works.")] = False,
    save: Annotated[Path | None, typer.Option(metavar="FILE", help="cut: where to store the results.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run the measurements and print their tables. Ends with 1 when one misses its bound.

    Example: nve bench cut
    """
    import os
    import subprocess
    import sys
    import time

    from cli.failure import Failure, Usage

    # A measurement is a module that can be run; the others are what they share.
    there = sorted(file.stem for file in (ROOT / "bench").glob("*.py") if '__name__ == "__main__"' in file.read_text(encoding="utf-8"))
    for name in names or []:
        if name not in there:
            raise Usage(f"There is no measurement {name}; there are {', '.join(there) or 'none yet'}.", field="names")
    options = [word for row in only or [] for word in ("--only", row)]
    options += ["--runs", str(runs)] if runs else []
    options += ["--quick"] if quick else []
    options += ["--save", str(save.resolve())] if save else []
    if options and names != ["cut"]:
        raise Usage(f"{options[0]} is for the measurement cut alone: nve bench cut {' '.join(options)}", field="names")
    screen, ran = Screen(as_json), []
    for name in names or there:
        screen.say(f"{name} …")
        began = time.monotonic()
        command = [sys.executable, "-m", f"bench.{name}", *options]
        out = sys.stderr if as_json else None
        code = subprocess.run(command, cwd=ROOT, stdout=out, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False).returncode
        ran.append({"name": name, "holds": code == 0, "seconds": round(time.monotonic() - began, 2)})
    document = {"measurements": ran}
    missed = [it["name"] for it in ran if not it["holds"]]
    if missed or not ran:
        raise Failure(f"Missed: {', '.join(missed)}." if missed else "There is nothing to measure yet.", code="missed", document=document)
    screen.result(document)
