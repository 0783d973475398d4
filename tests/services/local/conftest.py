"""Whole local stacks, each in a data directory of its own, and what must be true of them when they are gone."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deployments.local import child, ports, stack
from deployments.local.home import Home


def until(true: Callable[[], bool], seconds: float, claim: str) -> None:
    """Wait for something to become true; fail with the claim when it does not."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s: {claim}"
        time.sleep(0.02)


def pid_of(home: Home, name: str) -> int:
    """The process id of a component that runs."""
    state = stack.status(home)
    assert state is not None
    pid = next(component.pid for component in state.components if component.name == name)
    assert pid is not None, f"{name} does not run"
    return pid


def sockets(home: Home) -> list[Path]:
    """The socket files that the store of a data directory, made since `config.json` was, keeps outside of it.

    Ports are used again: an older file of the same number is somebody else's who was killed, on this machine, some time before.
    """
    since = (home.path / "config.json").stat().st_mtime
    numbers = {str(number) for name, port in home.ports.items() for number in ports.listeners(name, port)}
    named = [path for path in Path("/tmp").glob("seaweedfs-*.sock*") if numbers & set(path.name.replace(".", "-").split("-"))]
    return [path for path in named if path.stat().st_mtime >= since]


def processes(home: Home) -> list[int]:
    """Every living process that belongs to the stack of a data directory, the supervisor's own too.

    Found by their mark, their command line and where they run: Valkey writes over the first two.
    """
    found = [identity.pid for identity in child.marked(home.path)]
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            command.append(os.readlink(entry / "cwd"))
        except OSError:
            continue
        if any(part.startswith(str(home.path)) or part.endswith(f"={home.path}") or str(home.path) + "/" in part for part in command):
            found.append(int(entry.name))
    return sorted(pid for pid in set(found) if child.started(pid) and pid != os.getpid())


@pytest.fixture
def new_home(tmp_path: Path) -> Iterator[Callable[..., Home]]:
    """Makes data directories; at the end what runs of them is killed, which takes less time than a stop, and nothing may be left."""
    made: list[Home] = []

    def make(name: str = "data directory") -> Home:
        home = Home(tmp_path / name)
        home.prepare(well_known=False)
        made.append(home)
        return home

    yield make
    for home in made:
        state = stack.status(home)
        if state is not None:
            state.supervisor.signal(signal.SIGKILL)  # first: it would start again what dies
            state.supervisor.wait(5)
        for pid in processes(home):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda home=home: not processes(home), 5, "what was killed has gone")
        stack.stop(home)
        left, files = processes(home), sockets(home)
        ports.release(home.path, home.ports)
        shutil.rmtree(home.path, ignore_errors=True)
        assert not left, f"processes of the stack are left: {left}"
        assert not files, f"socket files are left: {files}"
