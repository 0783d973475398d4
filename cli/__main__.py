"""`python -m cli`: the whole of the command line, with its exit codes."""

from __future__ import annotations

import sys

from cli import screen
from cli.app import app


def main(arguments: list[str] | None = None) -> int:
    """0 the job (or what was asked) succeeded, 1 it did not, 2 usage, 3 the server cannot be reached, 130 interrupted."""
    given = sys.argv[1:] if arguments is None else arguments
    # A bare `nve` is a question.
    return screen.guard(lambda words: app(args=words, prog_name="nve", standalone_mode=False), given or ["--help"])


if __name__ == "__main__":
    sys.exit(main())
