"""nve test: everything the README promises, as tests."""

# ruff: noqa: PT028 (a command, not a test)

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import AsJson
from cli.screen import Screen


def add(app: typer.Typer) -> None:
    app.command(rich_help_panel="Prove")(test)


def test(
    tiers: Annotated[
        list[str] | None, typer.Argument(metavar="[TIER…]", help="unit, media, services, acceptance, faults; all of these when left out.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also the long ones.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run the tests, against real servers that are started for them.

    Ends with 1 when one failed or none ran.

    Example: nve test unit media
    """
    from cli import tiers as tests

    screen = Screen(as_json)
    ran = tests.run(screen, tests.chosen(tiers or []), everything=everything)
    screen.result(tests.document(ran), lambda: tests.tell(screen, ran))
    if not tests.good(ran):
        # The line with the counts is the last word.
        raise typer.Exit(1)
