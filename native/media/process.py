"""The one door through which processes are started: the worker that touches media, and FFmpeg inside the worker.

Nothing here goes through a shell, nothing reads standard input, and nothing outlives who started it: a worker leads its own
process group, FFmpeg stays in that group, and both ask the kernel for SIGKILL when their parent dies, even by `kill -9`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from native.media import sandbox

WORKER = "native.media.worker"
TAIL_BYTES = 4096
_PACKAGES = Path(__file__).resolve().parents[2]

# What a worker may know of its surroundings. Everything else, secrets first of all, stays with the parent.
_HANDED_DOWN = ("LD_LIBRARY_PATH", "TZ")

# The kernel sends a parent's-death signal when the *thread* that started the child ends. Threads that answer requests come and
# go, so one thread that lives as long as the process starts everything.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="starter")


def _renew_starter() -> None:
    global _starter
    _starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="starter")


os.register_at_fork(after_in_child=_renew_starter)


@functools.cache
def ffmpeg_path() -> str:
    """The FFmpeg program: `NVE_FFMPEG`, else the one that the imageio-ffmpeg wheel carries."""
    if given := os.environ.get("NVE_FFMPEG"):
        return given
    # Only who makes media needs it; a function that answers at once starts without.
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()


@dataclass(frozen=True)
class Death:
    """How a process ended: its exit status (negative: the signal), its greatest resident memory, its last words for the log."""

    status: int
    memory_bytes: int
    cpu_seconds: float
    stderr: str


class Tail:
    """The last bytes of a pipe; whoever writes to it can neither block nor fill our memory. Owns the descriptor."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._bytes = b""
        os.set_blocking(descriptor, False)

    def drain(self) -> bool:
        """Take what is there now. False when the pipe has ended."""
        for _ in range(16):  # a writer faster than we read must not keep us here
            try:
                piece = os.read(self.descriptor, 1 << 16)
            except BlockingIOError:
                return True
            if not piece:
                return False
            self._bytes = (self._bytes + piece)[-TAIL_BYTES:]
        return True

    def text(self) -> str:
        return self._bytes.decode("utf-8", "replace").strip()


class Child:
    """A process that leads its own group. Every method may be called from any thread."""

    def __init__(self, started: subprocess.Popen[bytes]) -> None:
        assert started.stderr is not None
        self._started = started
        self._lock = threading.Lock()
        self._death: Death | None = None
        self.pid = started.pid
        self.stderr = Tail(started.stderr.fileno())

    def kill(self) -> None:
        """Kill the whole group at once. Harmless when it is dead."""
        with self._lock:  # a reaped pid may belong to a stranger: kill and reap exclude each other
            if self._death is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.pid, signal.SIGKILL)

    def alive(self) -> bool:
        with self._lock:
            return self._death is None and os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def bury(self, patience_seconds: float = 0.0) -> Death:
        """Wait up to `patience_seconds` for the leader to end by itself, kill what is left of its group, and reap it."""
        give_up = time.monotonic() + patience_seconds
        while self.alive() and time.monotonic() < give_up:
            time.sleep(0.005)
        ended_itself = not self.alive()
        self.kill()
        with self._lock:
            if self._death is None:
                _, status, usage = os.wait4(self.pid, 0)
                self._started.returncode = os.waitstatus_to_exitcode(status)
                if ended_itself:
                    self.stderr.drain()
                with contextlib.suppress(OSError):
                    assert self._started.stderr is not None
                    self._started.stderr.close()
                cpu = usage.ru_utime + usage.ru_stime
                self._death = Death(self._started.returncode, usage.ru_maxrss * 1024, cpu, self.stderr.text())
            return self._death


def worker(channel: int) -> Child:
    """Start the worker with one descriptor: its end of the channel's socket pair."""
    environment = {name: os.environ[name] for name in _HANDED_DOWN if name in os.environ}
    environment |= {
        "PYTHONPATH": str(_PACKAGES),
        "LC_ALL": "C.UTF-8",
        "NVE_FFMPEG": ffmpeg_path(),
        # fewer malloc arenas: each reserves 64 MiB of the address space that RLIMIT_AS counts
        "MALLOC_ARENA_MAX": "2",
        # numpy, if anything imports it: a thread per core costs memory and escapes the sandbox's per-thread rules
        "OPENBLAS_NUM_THREADS": "1",
    }
    # -P: the current folder is not where modules come from; -s: nor is the user's home
    command = [sys.executable, "-P", "-s", "-u", "-m", WORKER, str(os.getpid()), str(channel)]
    started = _starter.submit(
        subprocess.Popen,
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
        cwd="/",
        pass_fds=(channel,),
        start_new_session=True,
    )
    return Child(started.result())


class Failed(Exception):
    """FFmpeg did not end well. `status` is its exit status (negative: a signal); the text is for the log, never for strangers."""

    def __init__(self, status: int, stderr: str) -> None:
        super().__init__(f"ffmpeg ended with {status}: {stderr}")
        self.status = status
        self.stderr = stderr

    @property
    def exhausted(self) -> bool:
        """Whether it ended for want of memory, disk or time, rather than by what it read."""
        return -self.status in {signal.SIGKILL, signal.SIGXCPU, signal.SIGXFSZ} or "Cannot allocate memory" in self.stderr


def ffmpeg(arguments: Sequence[str], room: Path, *, output_bytes: int | None = None, on_line: Callable[[str], None] | None = None) -> None:
    """Run FFmpeg in `room` to its end; `on_line` gets each line of its standard output (`-progress pipe:1`).

    `output_bytes` is the most it may write into one file. Raises `Failed`. The deadline is the session's, who kills the group.
    """
    parent = os.getpid()

    def before_exec() -> None:
        sandbox.die_with_parent(parent)
        if output_bytes is not None:
            # enforced by the kernel with SIGXFSZ; `-fs` would end the file early and call it a success
            resource.setrlimit(resource.RLIMIT_FSIZE, (output_bytes, output_bytes))

    # This thread waits for FFmpeg, so it lives as long and may be its parent. It is also the worker's only thread: none that
    # could hold a lock across the fork, so Python may run between fork and exec.
    with subprocess.Popen(
        [ffmpeg_path(), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=room,
        preexec_fn=before_exec,  # noqa: PLW1509
    ) as started:
        try:
            stderr = _listen(started, on_line or (lambda _line: None))
            status = started.wait()
        except BaseException:
            started.kill()
            raise
    if status != 0:
        raise Failed(status, stderr)


def _listen(started: subprocess.Popen[bytes], on_line: Callable[[str], None]) -> str:
    """Read both pipes to their ends. Returns the tail of standard error."""
    assert started.stdout is not None
    assert started.stderr is not None
    tail = Tail(started.stderr.fileno())
    with selectors.DefaultSelector() as selector:
        selector.register(started.stdout, selectors.EVENT_READ)
        selector.register(started.stderr, selectors.EVENT_READ)
        line = b""
        while selector.get_map():
            for key, _ in selector.select():
                if key.fileobj is started.stderr:
                    if not tail.drain():
                        selector.unregister(started.stderr)
                    continue
                piece = os.read(started.stdout.fileno(), 1 << 14)
                if not piece:
                    selector.unregister(started.stdout)
                    continue
                *lines, line = (line + piece).split(b"\n")
                line = line[-TAIL_BYTES:]
                for whole in lines:
                    on_line(whole.decode("ascii", "replace").strip())
    return tail.text()
