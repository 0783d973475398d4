"""A command's costs, by the meter in a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.race.result import Sample

METER = Path(__file__).with_name("meter.py")


class Failed(Exception):
    """A contestant did not make its output. The text says why, in one line."""


def time(steps: Sequence[Sequence[str | Path]], room: Path, *, reads: bool = False) -> Sample:
    """What these command lines cost, one after the other, run in `room`. With `reads`, what they read is counted: for commands that read
    their sources and little else. Raises `Failed`."""
    log = room / "said.log"
    job = {"steps": [[str(word) for word in step] for step in steps], "log": str(log), "room": str(room)}
    done = subprocess.run([sys.executable, "-I", "-S", str(METER), json.dumps(job)], capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    if why := answer.get("failed"):
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        telling = [line for line in lines if re.search(r"(?i)\berror\b|\w+Error:", line)] or lines
        raise Failed(f"{why}: {telling[-1].strip()[:200]}" if telling else why)
    if not reads:
        answer["read_bytes"] = None
    return Sample(**answer)
