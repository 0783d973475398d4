"""The command line as a process: its exit codes, its one JSON document, its help."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from cli import failure, screen
from cli.__main__ import main
from cli.failure import Failure, Interrupted
from tests.unit.cli.api import Answer, Api
from tests.unit.cli.conftest import ASSET, JOB, job

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = [
    "demo",
    "test",
    "bench",
    "trim",
    "merge",
    "render",
    "inspect",
    "jobs",
    "job",
    "cancel",
    "retry",
    "up",
    "down",
    "ps",
    "logs",
    "open",
]
COMMANDS += ["keys create", "keys list", "keys revoke"]


def nve(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("NVE_") and name != "DATABASE_URL"}
    env = {**plain, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--help says what it does and gives an example that begins with the command."""
    assert main([*command.split(), "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Usage: nve {command} ")
    assert f"Example: nve {command}" in out


def test_the_list_of_commands_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """A bare `nve` shows every command under a heading."""
    assert main([]) == 0
    out = capsys.readouterr().out
    for command in COMMANDS:
        assert f"\n  {command.split()[0]} " in out
    for heading in ("Prove:", "Edit:", "Jobs:", "Server:"):
        assert heading in out


def test_help_is_quick() -> None:
    """What is not needed is not imported: a start costs below 0.4 s of processor time, and none of the heavy libraries is loaded."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert nve("--help").returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    loaded = "import sys, cli.app; print(*[m for m in ('httpx', 'rich', 'av', 'psycopg', 'pydantic', 'boto3') if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""
    # Processor time, because the wall clock of a busy machine says nothing about us.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.4


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["trim", "/no/such/file.mp4", "--start", "1", "--end", "2", "-o", "x.mp4"], 2, "there is no such file"),
        (["trim", ASSET, "--start", "1x", "--end", "2"], 2, "--start"),
        (["trim", ASSET, "--start", "3", "--end", "2"], 2, "must be after"),
        (["trim", ASSET, "--start", "1", "--end", "2", "-o", "x.avi"], 2, "must end in"),
        (["trim", ASSET, "--end", "2"], 2, "--start"),
        (["trim", ASSET, "--start", "1", "--end", "2", "--mode", "best"], 2, "best"),
        (["frobnicate"], 2, "frobnicate"),
        (["job", "17"], 2, "is not the id"),
        (["test", "nonsense"], 2, "There is no tier nonsense"),
        (["jobs"], 3, "start it with `nve up`"),
        (["ps"], 3, "start it with `nve up`"),
        (["keys", "list"], 3, "start it with `nve up`"),
    ],
)
def test_what_goes_wrong_has_its_code_and_one_sentence(
    arguments: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line on stderr and nothing on stdout; with --json one document on stdout that says the same."""
    for name in ("NVE_URL", "NVE_KEY", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NVE_DATA", str(tmp_path / "data"))
    if arguments[0] == "job":
        monkeypatch.setenv("NVE_URL", "http://127.0.0.1:9")
        monkeypatch.setenv("NVE_KEY", "nve_x")
    assert main(arguments) == code
    plain = capsys.readouterr()
    assert plain.out == ""
    assert said in plain.err
    assert plain.err.startswith("nve: ")
    assert plain.err.count("\n") == 1
    assert main([*arguments, "--json"]) == code
    document = json.loads(capsys.readouterr().out)
    assert said in document["error"]["message"]


def test_a_failed_job_is_exit_code_1_with_its_document(server: Api) -> None:
    """`nve job` of a failed job prints the job document with --json, and ends with 1."""
    failed = job("failed", error={"code": "source_empty", "message": "The source file is empty"})
    server.on("GET", f"/function/status/{JOB}", Answer(200, failed))
    ran = nve("job", JOB, "--json", NVE_URL=server.url, NVE_KEY="nve_x")
    assert ran.returncode == 1
    assert json.loads(ran.stdout) == failed
    assert ran.stderr == f"nve: The trim failed: The source file is empty (job {JOB})\n"


def test_a_list_of_jobs_for_people_and_for_programs(server: Api) -> None:
    """The table has a row for each, without colours in a pipe; --json is the server's page."""
    page = {
        "jobs": [job("running", progress={"percent": 41.2, "frames": 7}), job("failed", error={"code": "x", "message": "Damaged"})],
        "next": None,
    }
    server.on("GET", "/function/status", Answer(200, page))
    ran = nve("jobs", "--state", "failed", "--limit", "7", NVE_URL=server.url, NVE_KEY="nve_x")
    assert ran.returncode == 0
    assert ran.stdout.count(JOB) == 2
    assert "running 41 %" in ran.stdout
    assert "Damaged" in ran.stdout
    assert "\x1b" not in ran.stdout + ran.stderr
    assert server.asked[0].query == {"state": ["failed"], "limit": ["7"]}
    assert json.loads(nve("jobs", "--json", NVE_URL=server.url, NVE_KEY="nve_x").stdout) == page


def test_a_key_is_not_for_strangers(server: Api, tmp_path: Path) -> None:
    """NVE_URL without NVE_KEY asks for a key, and sends nothing."""
    ran = nve("jobs", NVE_URL=server.url, NVE_DATA=str(tmp_path / "data"))
    assert ran.returncode == 2
    assert "NVE_KEY" in ran.stderr
    assert server.asked == []


def _raises(exc: BaseException):
    def run(arguments: list[str]) -> None:
        raise exc

    return run


@pytest.mark.parametrize(
    ("exc", "code"), [(Failure("No."), 1), (failure.Usage("No."), 2), (failure.Unreachable("No."), 3), (Interrupted("No."), 130)]
)
def test_every_failure_has_its_exit_code(exc: Failure, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """1 failed, 2 usage, 3 no server, 130 interrupted: each with one document."""
    assert screen.guard(_raises(exc), ["--json"]) == code
    seen = capsys.readouterr()
    assert json.loads(seen.out)["error"]["message"] == "No."
    assert seen.err == "nve: No.\n"


def test_a_mistake_of_ours_is_not_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    """An unforeseen exception keeps its traceback, and --json still has its document."""
    with pytest.raises(ZeroDivisionError):
        screen.guard(_raises(ZeroDivisionError()), ["--json"])
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "internal"


def test_troubles_of_other_rooms_are_understood() -> None:
    """The stack's Trouble means no server; a Problem of the native layer is what its status says."""
    from deployments.local.trouble import Trouble
    from native import errors

    assert failure.of(Trouble("No disk.")).exit_code == 3
    assert failure.of(errors.INVALID_RANGE("x", field="end")).exit_code == 2
    assert failure.of(errors.CONFLICT("x")).exit_code == 1
    assert failure.of(errors.DATABASE_UNAVAILABLE()).exit_code == 3
    assert failure.of(KeyError("x")) is None
