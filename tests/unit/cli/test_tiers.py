"""nve test counts what pytest did, and never calls nothing a success."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli import tiers
from cli.__main__ import main
from cli.failure import Usage
from cli.screen import Screen
from cli.tiers import Ran

FILES = {
    "all good": "def test_a(): pass\ndef test_b(): pass",
    "mixed": "import pytest\ndef test_a(): pass\ndef test_b(): assert 0\ndef test_c(): pytest.skip('no')\n"
    "@pytest.mark.xfail\ndef test_d(): assert 0",
    "broken": "import no_such_module",
    "teardown": "import pytest\n@pytest.fixture\ndef f():\n    yield\n    assert 0\ndef test_a(f): pass\ndef test_b(): pass",
    "empty": "",
    "ended": "import os\ndef test_a(): os._exit(7)",
}
COUNTS = {"all good": (2, 0, 0), "mixed": (1, 1, 2), "broken": (0, 1, 0), "empty": (0, 0, 1), "ended": (0, 1, 0)}


def counted(tmp_path: Path, text: str) -> Ran:
    (tmp_path / "test_it.py").write_text(text)
    report = tmp_path / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", str(tmp_path)]
    code = subprocess.run([*command, f"--junitxml={report}", str(tmp_path)], capture_output=True, timeout=60, check=False).returncode
    return tiers.counted("it", report, code, 1.0)


@pytest.mark.parametrize("case", COUNTS)
def test_real_reports_are_counted(case: str, tmp_path: Path) -> None:
    """Passed, failed and skipped are what pytest says; a file that cannot be imported and a process that dies are failures."""
    ran = counted(tmp_path, FILES[case])
    assert (ran.passed, ran.failed, ran.skipped) == COUNTS[case]


def test_a_failing_teardown_is_a_failure(tmp_path: Path) -> None:
    """A test that passes and then breaks its teardown is not good."""
    ran = counted(tmp_path, FILES["teardown"])
    assert ran.failed == 1
    assert not tiers.good([ran])


@pytest.mark.parametrize(
    ("ran", "good"),
    [
        ([Ran("a", passed=1), Ran("b", skipped=1, why="no")], True),
        ([Ran("a", skipped=1)], False),
        ([], False),
        ([Ran("a", passed=9), Ran("b", failed=1)], False),
    ],
)
def test_nothing_run_is_no_success(ran: list[Ran], good: bool) -> None:
    """Something has to pass, and nothing may fail."""
    assert tiers.good(ran) is good


def test_the_last_line_says_it_all(capsys: pytest.CaptureFixture[str]) -> None:
    """`N passed, N failed, N skipped`, exactly, and a skipped tier with its reason above."""
    tiers.tell(Screen(), [Ran("unit", 10, 0, 1, 2.5), Ran("faults", skipped=1, why="Valkey cannot be had on this machine")])
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "10 passed, 0 failed, 2 skipped"
    assert "Valkey cannot be had" in out


def test_tiers_are_chosen_by_name() -> None:
    """The default is all five, in order; an unknown one is a usage error."""
    assert tiers.chosen([]) == ["unit", "media", "services", "acceptance", "faults"]
    assert tiers.chosen(["media", "unit", "media"]) == ["media", "unit"]
    with pytest.raises(Usage):
        tiers.chosen(["everything"])


ENDINGS = [
    ("def test_a(): pass", 0, "1 passed, 0 failed, 0 skipped"),
    ("def test_a(): assert 0", 1, "0 passed, 1 failed, 0 skipped"),
    ("", 1, "0 passed, 0 failed, 1 skipped"),
]


@pytest.mark.parametrize(("text", "code", "last"), ENDINGS)
def test_the_command_ends_as_the_tests_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], text: str, code: int, last: str
) -> None:
    """`nve test unit` in a small project: the last line on stdout are the counts, the exit code says whether all is well."""
    folder = tmp_path / "tests" / "unit"
    folder.mkdir(parents=True)
    (folder / "test_it.py").write_text(text)
    monkeypatch.setattr(tiers, "ROOT", tmp_path)
    assert main(["test", "unit"]) == code
    assert capfd.readouterr().out.splitlines()[-1] == last


def test_the_document_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """With --json the counts are the only thing on stdout."""
    monkeypatch.setattr(tiers, "ROOT", tmp_path)
    (tmp_path / "tests" / "unit").mkdir(parents=True)
    assert main(["test", "unit", "--json"]) == 1
    assert json.loads(capfd.readouterr().out)["tiers"][0]["why"] == "it has no tests yet"


@pytest.mark.parametrize("tier", tiers.ON_SERVERS)
def test_the_wheels_bring_every_server(tier: str) -> None:
    """Where the lock file is installed, no tier is left out for want of a server."""
    assert tiers._hindrance(tier) == ""


def test_a_missing_server_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tier whose server cannot be had says which one, and what to do."""
    from deployments.local import seaweed
    from deployments.local.trouble import Trouble

    def none() -> Path:
        raise Trouble("There is no SeaweedFS here: give a store with S3_ENDPOINT.")

    monkeypatch.setattr(seaweed, "binary", none)
    assert "SeaweedFS" in tiers._hindrance("faults")
