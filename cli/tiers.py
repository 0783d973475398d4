"""The tiers of tests: run one by one in processes of their own, counted from pytest's own report."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from cli import figures
from cli.failure import Failure, Usage
from cli.options import ROOT
from cli.screen import Screen

# In the order in which they are run: the quick ones first, so that a mistake is known soon.
DEFAULT = ("unit", "media", "services", "acceptance", "faults")

# Tiers that cannot be run without Postgres, Valkey and SeaweedFS.
ON_SERVERS = ("services", "acceptance", "faults")

# pytest's exit codes (pytest.ExitCode), which are part of its documented interface.
_NOTHING_COLLECTED = 5
_INTERRUPTED = 2


@dataclass(frozen=True)
class Ran:
    """What came of one tier. `why` says why a whole tier was skipped, or did not even start."""

    tier: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    why: str = ""


def chosen(names: Sequence[str]) -> list[str]:
    """The tiers to run. Raises Usage for one that does not exist."""
    there = sorted(
        folder.name for folder in (ROOT / "tests").iterdir() if folder.is_dir() and folder.name.isidentifier() and folder.name[0] != "_"
    )
    for name in names:
        if name not in there and name not in DEFAULT:
            raise Usage(f"There is no tier {name}; there are {', '.join(dict.fromkeys([*DEFAULT, *there]))}.", field="tiers")
    return list(dict.fromkeys(names)) or list(DEFAULT)


def run(screen: Screen, tiers: Sequence[str], *, everything: bool) -> list[Ran]:
    """Run the tiers, one after another; what pytest says is shown as it says it. Raises Failure without pytest."""
    if importlib.util.find_spec("pytest") is None:
        raise Failure("pytest is not installed here: run the tests with ./nve test, which fetches what they need.", code="no_pytest")
    ran = []
    for tier in tiers:
        why = _hindrance(tier)
        if why:
            screen.say(f"{tier}: skipped, {why}")
            ran.append(Ran(tier, skipped=1, why=why))
        else:
            screen.say(f"{tier} …")
            ran.append(_pytest(screen, tier, everything))
    return ran


def _hindrance(tier: str) -> str:
    if not any((ROOT / "tests" / tier).rglob("test_*.py")):
        return "it has no tests yet"
    if tier in ON_SERVERS:
        from deployments.local import postgres, seaweed, valkey
        from deployments.local.trouble import Trouble

        for find in (postgres.binaries, valkey.binary, seaweed.binary):
            try:
                find()
            except Trouble as trouble:
                return str(trouble)
    return ""


def _pytest(screen: Screen, tier: str, everything: bool) -> Ran:
    with tempfile.TemporaryDirectory(prefix="nve-test-") as room:
        report = Path(room) / "report.xml"
        command = [sys.executable, "-m", "pytest", f"tests/{tier}", "-q", "--no-header", f"--junitxml={report}"]
        # Long tests carry the mark `slow`; they are left out, not counted as skipped: nobody asked for them.
        command += [] if everything else ["-m", "not slow"]
        began = time.monotonic()
        # What pytest says is for people: with --json it goes where all that goes, to stderr.
        out = sys.stderr if screen.as_json else None
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, env={**os.environ, "PYTHONPATH": str(ROOT)})
        try:
            code = process.wait()
        except KeyboardInterrupt:
            # The terminal has sent it to pytest as well, which now stops what its tests started.
            process.wait()
            raise
        if code == _INTERRUPTED and not report.exists():
            raise KeyboardInterrupt
        return counted(tier, report, code, time.monotonic() - began)


def counted(tier: str, report: Path, code: int, seconds: float) -> Ran:
    """Pytest's report in numbers. What ended without one, or found nothing, is not a success."""
    try:
        suites = ElementTree.parse(report).getroot().iter("testsuite")  # noqa: S314 (our own pytest wrote it)
    except (OSError, ElementTree.ParseError):
        return Ran(tier, failed=1, seconds=seconds, why=f"pytest ended with {code} before it could report")
    total = failed = skipped = 0
    for suite in suites:
        total += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    if code == _NOTHING_COLLECTED and not total:
        return Ran(tier, skipped=1, seconds=seconds, why="none of its tests was chosen")
    if code not in (0, 1) and not failed:
        return Ran(tier, passed=max(0, total - skipped), failed=1, skipped=skipped, seconds=seconds, why=f"pytest ended with {code}")
    # A test that fails and whose teardown errors too is counted as both; it did not pass twice over.
    return Ran(tier, passed=max(0, total - failed - skipped), failed=failed, skipped=skipped, seconds=seconds)


def good(ran: Sequence[Ran]) -> bool:
    """Nothing failed, and something ran."""
    return not any(it.failed for it in ran) and any(it.passed for it in ran)


def document(ran: Sequence[Ran]) -> dict[str, Any]:
    total = {what: sum(getattr(it, what) for it in ran) for what in ("passed", "failed", "skipped")}
    return {**total, "tiers": [asdict(it) for it in ran]}


def tell(screen: Screen, ran: Sequence[Ran]) -> None:
    """A row for each tier, and the line that says it all."""
    rows = [[it.tier, str(it.passed), str(it.failed), str(it.skipped), figures.seconds(it.seconds), it.why] for it in ran]
    screen.table(["tier", "passed", "failed", "skipped", "time", ""], rows, right=[1, 2, 3, 4])
    total = document(ran)
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped", flush=True)
