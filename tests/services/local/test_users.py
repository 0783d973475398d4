"""Root and not root: Postgres refuses the one, and the other may do little."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.local import child, ports, stack
from deployments.local.home import ROOT, Home
from deployments.local.postgres import Postgres

root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


@pytest.fixture
def open_room() -> Iterator[Path]:
    """A directory that every user can reach; pytest's own are for root alone."""
    room = Path(tempfile.mkdtemp(prefix="nve-test-"))
    room.chmod(0o777)
    yield room
    shutil.rmtree(room, ignore_errors=True)


def python_for_everybody(room: Path) -> Path:
    """An environment like ours that other users can run, in `room`; the interpreter of ours may be in root's own directory."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    packages = Path(sysconfig.get_path("purelib"))
    found = [Path(candidate).resolve() for candidate in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}")]
    able = [path for path in found if path.exists() and _open(path)]
    if not able or not _open(packages / "any"):
        pytest.skip(f"there is no {version} with packages here that other users may run")
    subprocess.run([able[0], "-m", "venv", "--without-pip", room / "venv"], check=True, timeout=60)
    (room / "venv/lib" / version / "site-packages/ours.pth").write_text(f"{packages}\n")
    # Before 3.11.3 redis-py takes this from a package that an environment made with a newer 3.11 does not have.
    (room / "venv/lib" / version / "site-packages/async_timeout.py").write_text("from asyncio import timeout as timeout\n")
    return room / "venv/bin/python"


def _open(path: Path) -> bool:
    return all(part.stat().st_mode & 0o001 for part in path.parents)


@root_only
def test_without_any_rights(open_room: Path) -> None:
    """The user nobody, without a home directory and with an empty environment, starts, uses and stops a whole stack."""
    nobody = pwd.getpwnam("nobody")
    python = python_for_everybody(open_room)
    code = (
        "import sys; from deployments.local import stack; from deployments.local.home import Home\n"
        "home = Home(sys.argv[1]); home.prepare(well_known=False); running = stack.start(home)\n"
        "import http.client; link = http.client.HTTPConnection('127.0.0.1', home.ports['gateway']); link.request('GET', '/healthz')\n"
        "print(link.getresponse().status, flush=True); stack.stop(home)"
    )
    done = subprocess.run(
        [python, "-c", code, str(open_room / "home")],
        cwd=ROOT,
        env={"PATH": os.defpath, "HOME": "/nonexistent"},
        user=nobody.pw_uid,
        group=nobody.pw_gid,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "200\n"), done.stderr[-2000:]
    assert (open_room / "home/postgres").stat().st_uid == nobody.pw_uid
    home = Home(open_room / "home")
    assert not list(child.marked(home.path))
    shutil.rmtree(f"/tmp/nve-ports-{nobody.pw_uid}", ignore_errors=True)


@root_only
def test_root_without_namespaces(open_room: Path) -> None:
    """Where root may not make user namespaces, Postgres runs as nobody; the same data then serve it in a namespace, as root's, again."""
    home = Home(open_room / "home")
    home.prepare(well_known=False)
    owners = []
    try:
        for as_nobody in (True, False, True):
            postgres = Postgres(home, durable=False, as_nobody=as_nobody)
            postgres.start()
            try:
                postgres.ready()
                postgres.create_database()
                owners.append(postgres.data.stat().st_uid)
                assert postgres.process is not None
                status = Path(f"/proc/{postgres.process.pid}/status").read_text()
                assert f"Uid:\t{pwd.getpwnam('nobody').pw_uid if as_nobody else 0}\t" in status
            finally:
                postgres.stop()
    finally:
        ports.release(home.path, home.ports)

    nobody = pwd.getpwnam("nobody").pw_uid
    assert owners == [nobody, 0, nobody]


@root_only
def test_root_without_namespaces_in_a_closed_directory(open_room: Path) -> None:
    """When nobody cannot reach the data directory, the refusal names the directory in the way and opens nothing."""
    closed = open_room / "closed"
    closed.mkdir(mode=0o700)
    home = Home(closed / "home")
    home.prepare(well_known=False)
    try:
        with pytest.raises(stack.Trouble, match=f"cannot pass through {closed}:"):
            Postgres(home, as_nobody=True).start()
    finally:
        ports.release(home.path, home.ports)

    assert closed.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    """A data directory that cannot be made is refused in one sentence that names it."""
    (tmp_path / "file").write_text("")

    with pytest.raises(stack.Trouble, match=r"file/home cannot be used \(Not a directory\): choose another one with --data"):
        stack.start(Home(tmp_path / "file/home"))
