"""A process that must not outlive us: spawned, proved, stopped.

Spawn from the main thread only: Linux sends the death signal when the *thread* that spawned ends, not when the process does.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

# The environment of everything below a supervisor carries its data directory under this name: proof, after a crash, whose it is.
MARK = "NVE_STACK_OF"

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
# Loaded before any fork: the child may only call what is there already.
_prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None


@dataclasses.dataclass(frozen=True)
class Identity:
    """A pid alone proves nothing, it is soon another's. Together with the time of its start it names one process."""

    pid: int
    started: str

    def alive(self) -> bool:
        return started(self.pid) == self.started

    def signal(self, number: int) -> None:
        """Send a signal, unless the process has gone."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, seconds: float) -> bool:
        """Whether the process has gone within so many seconds."""
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def save(self, path: Path) -> None:
        replace(path, json.dumps(dataclasses.asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Identity | None:
        """The process that the file names, or None when it names none or the process has gone."""
        try:
            identity = cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return identity if identity.alive() else None

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        since = started(pid)
        return cls(pid, since) if since else None


def started(pid: int) -> str | None:
    """When a process started, in words that no later process with that pid can repeat; None when there is none (or only its zombie)."""
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else f"{_boot()}:{fields[19]}"
    shown = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout.strip()
    return None if not shown or shown.startswith("Z") else " ".join(shown.split()[1:])


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def marked(home: Path) -> Iterator[Identity]:
    """Every process whose environment says that it belongs to the stack of this data directory (Linux; elsewhere none are found)."""
    mark = f"{MARK}={home}".encode()
    for entry in Path("/proc").glob("[0-9]*") if sys.platform == "linux" else ():
        pid = int(entry.name)
        if pid == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if mark in (entry / "environ").read_bytes().split(b"\0") and (identity := Identity.of(pid)):
                yield identity


def spawn(
    command: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str],
    cwd: Path,
    death_signal: signal.Signals | None,
    session: bool = False,
    user: tuple[int, int] | None = None,
    keep: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own, its output appended to `log`; it gets `death_signal` when we die, however we die.

    `session` also takes it from our terminal, whose end it then outlives.
    `user` is the uid and gid to become; `keep` names file descriptors that it inherits. Raises OSError.
    """
    with log.open("ab") as out:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=dict(env),
            cwd=cwd,
            start_new_session=session,
            process_group=None if session else 0,  # a Ctrl-C at the terminal is ours to hear: we stop them in the right order
            pass_fds=tuple(keep),
            user=user[0] if user else None,
            group=user[1] if user else None,
            extra_groups=() if user else None,
            preexec_fn=_tied(os.getpid(), death_signal) if death_signal else None,  # noqa: PLW1509 - one system call, loaded before the fork
        )


def _tied(parent: int, death_signal: signal.Signals) -> Callable[[], None] | None:
    if _prctl is None:
        return None

    def tie() -> None:
        _prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # it died before the call: nobody would tell us
            os.kill(os.getpid(), signal.SIGKILL)

    return tie


def adopt_orphans() -> None:
    """Make the children of our children ours when those die, so that `reap_orphans` can end them."""
    if _prctl is not None:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> list[int]:
    """Our living children, by birth or by adoption (Linux; elsewhere there is no adoption, and none are found)."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*") if sys.platform == "linux" else ():
        with contextlib.suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid() and fields[0] not in "ZX":
                found.append(int(entry.name))
    return found


def dead_child() -> int | None:
    """A child that waits to be buried. It goes on waiting: whoever knows it may still ask how it died."""
    if not hasattr(os, "waitid"):
        return None
    try:
        dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return dead.si_pid if dead else None


def end_all(identities: Iterable[Identity], seconds: float = 2.0) -> None:
    """End processes that are proved to be ours: politely, then not."""
    found = list(identities)
    for identity in found:
        identity.signal(signal.SIGTERM)
    deadline = time.monotonic() + seconds
    for identity in found:
        if not identity.wait(max(0.0, deadline - time.monotonic())):
            identity.signal(signal.SIGKILL)
            identity.wait(seconds)


def finish(process: subprocess.Popen[bytes], polite: signal.Signals, seconds: float) -> None:
    """Ask a process to stop, then end it and its group, and wait for it: a zombie would keep its name."""
    if process.poll() is None:
        process.send_signal(polite)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
    # Also when it went by itself: what it left in its group has no business to go on.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def replace(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file whole or not at all."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with open(descriptor, "w") as file:
        file.write(text)
    new.replace(path)
