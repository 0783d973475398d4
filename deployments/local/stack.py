"""The whole local stack, for the command line and for tests: start, borrow, stop, look at it.

Call `start` from the main thread: a stack that is tied to its caller ends with the thread that started it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from . import child, leftovers, logs
from .gateway import Gateway
from .home import ROOT, Home
from .state import Component, State
from .trouble import Trouble

__all__ = ["Component", "Progress", "Running", "State", "Trouble", "borrow", "follow_logs", "memory", "running", "start", "status", "stop"]

START_SECONDS = 90.0
# The gateway's functions, then the servers, each with its own patience: four seconds. After this long it hangs.
STOP_SECONDS = 12.0
ALREADY_RUNS = 3

follow_logs = logs.follow

# What we started and what has not ended: forgotten children would be zombies with a warning.
_spawned: list[subprocess.Popen[bytes]] = []


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """One step of a start: "postgres" is "starting", "database" is "ready"."""

    component: str
    status: str
    #: since the start
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Running:
    """A stack that answers."""

    home: Home
    url: str
    key: str
    #: False when it was running already: then it is not the caller's to stop
    started: bool
    supervisor: child.Identity

    def wait(self, seconds: float = float("inf")) -> bool:
        """Whether it has ended within so many seconds."""
        return self.supervisor.wait(seconds)


def start(
    home: Home,
    detach: bool = True,
    on_progress: Callable[[Progress], None] | None = None,
    *,
    port: int | None = None,
    transient: bool = False,
) -> Running:
    """Start the stack, unless it runs, and return when it answers. Raises `Trouble`.

    Not detached, it ends with this process, however that ends. A transient one ends when nobody borrows it any more.
    """
    home.prepare()
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if not transient:
            (home.path / "run/stay").touch()
        state = State.load(home)
        if state is None:
            if _spawn(home, detach or transient, on_progress, port, transient):
                return _answering(home, started=True)
        elif state.status == "ready" and (transient or not state.transient) and Gateway(home).answers():
            if port is not None and port != home.ports["gateway"]:
                raise Trouble(f"The stack runs already, at {state.url}: stop it with `nve down` to move it to port {port}.")
            return _answering(home, started=False)
        # Somebody else is starting or stopping it, or it has yet to notice that it is to stay.
        time.sleep(0.05)
    raise Trouble(f"The stack in {home.path} does not come up and does not go down: end it with `nve down` and start it again.")


@contextlib.contextmanager
def borrow(home: Home, on_progress: Callable[[Progress], None] | None = None) -> Iterator[Running]:
    """A stack for as long as the block lasts: the one that runs, or one that the last of its borrowers stops. Raises `Trouble`."""
    home.prepare()
    with (home.path / "run/borrowed").open("a") as file:
        # The supervisor looks at this lock: it also notices a borrower that was killed.
        fcntl.flock(file, fcntl.LOCK_SH)
        try:
            yield start(home, on_progress=on_progress, transient=True)
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                state = State.load(home)
                if state and state.transient and not (home.path / "run/stay").exists():
                    stop(home)


def stop(home: Home) -> bool:
    """Stop the stack, and end what a killed one left. Returns whether there was anything to stop."""
    if not (home.path / "run").is_dir():
        return False
    state = State.load(home)
    if state is not None:
        state.supervisor.signal(signal.SIGTERM)
        if not state.supervisor.wait(STOP_SECONDS):
            state.supervisor.signal(signal.SIGKILL)
            state.supervisor.wait(STOP_SECONDS)
    for process in _spawned[:]:
        if process.poll() is not None:
            _spawned.remove(process)
    with leftovers.lock(home, seconds=2.0) as ours:
        if ours:
            leftovers.end(home)
    return state is not None


def status(home: Home) -> State | None:
    """The stack as it stands; None when it does not run."""
    return State.load(home)


def running(home: Home) -> bool:
    """Whether the stack runs and answers."""
    state = State.load(home)
    return state is not None and state.status == "ready"


def memory(component: Component) -> int | None:
    """Bytes that a component and its children hold, what they share counted once (Linux); None when that cannot be read."""
    if component.pid is None:
        return None
    family, parents = {component.pid}, _parents()
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    try:
        return sum(_held(pid) for pid in family if Path(f"/proc/{pid}").exists())
    except OSError:
        return None


def _spawn(home: Home, detach: bool, on_progress: Callable[[Progress], None] | None, port: int | None, transient: bool) -> bool:
    """Start a supervisor and listen to it. False when another one was faster. Raises `Trouble`, in the supervisor's own words."""
    began = time.monotonic()
    ear, mouth = os.pipe()
    command = [sys.executable, "-m", "deployments.local.supervise", "--data", str(home.path), "--report-fd", str(mouth)]
    command += ["--port", str(port)] if port else []
    command += ["--transient"] if transient else []
    try:
        process = child.spawn(
            command,
            log=home.path / "logs/supervisor.log",
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            death_signal=None if detach else signal.SIGTERM,
            session=True,
            keep=[mouth],
        )
    finally:
        os.close(mouth)
    _spawned.append(process)
    with open(ear, "rb", buffering=0) as report:
        try:
            for event in _events(report.fileno(), START_SECONDS):
                if event.get("ready"):
                    return True
                if trouble := event.get("trouble"):
                    raise Trouble(trouble)
                if on_progress:
                    on_progress(Progress(component=event["component"], status=event["status"], seconds=time.monotonic() - began))
        except BaseException:  # also a Ctrl-C: what was started half is stopped whole
            process.terminate()
            process.wait()
            raise
    if process.wait() == ALREADY_RUNS:
        return False
    words = logs.last(home, "supervisor", 1)
    raise Trouble(f"The supervisor ended before the stack was up ({words[0] if words else process.returncode}): see {home.path / 'logs'}.")


def _events(report: int, seconds: float) -> Iterator[dict[str, str]]:
    """What the supervisor says, line by line, until it closes the pipe or says nothing for too long."""
    rest = b""
    while select.select([report], [], [], seconds)[0]:
        said = os.read(report, 65536)
        if not said:
            return
        *lines, rest = (rest + said).split(b"\n")
        for line in lines:
            yield json.loads(line)
    raise Trouble("The stack has not come up in time: look at `nve logs`, then try again.")


def _answering(home: Home, *, started: bool) -> Running:
    home.forget()
    state, key = State.load(home), home.key
    if state is None or key is None:
        raise Trouble("The stack ended as soon as it was up: look at `nve logs supervisor`.")
    return Running(home=home, url=state.url, key=key, started=started, supervisor=state.supervisor)


def _parents() -> dict[int, int]:
    found: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    return found


def _held(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) << 10 for line in rollup.splitlines() if line.startswith("Pss:"))
