"""What a session's worker may not do, and what becomes of it when it tries, dies, lingers or is killed. Real processes throughout."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from native import errors
from native.media import process, session

ROOT = Path(__file__).resolve().parents[2]
WAIT_SECONDS = 20.0  # far more than anything here takes; a bound, not a measure


class Bytes:
    """A source in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]


@pytest.fixture(autouse=True)
def _rogue(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every worker of these tests is a rogue behind the real sandbox."""
    monkeypatch.setattr(process, "WORKER", "tests.media.rogue")
    yield
    session.cool()


@pytest.fixture
def room(tmp_path: Path) -> Path:
    path = tmp_path / "room"
    path.mkdir()
    return path


def do(deed: str, room: Path, **limits: Any) -> Any:
    """Let a rogue do `deed`; what it saw."""
    with session.open([Bytes(deed.encode())], room, session.Limits(**({"deadline_seconds": WAIT_SECONDS} | limits))) as media:
        return json.loads(media.probe()[0].container)


def soon(condition: Callable[[], Any], seconds: float) -> float:
    """Poll until `condition` holds; how long it took. Fails the test after `seconds`."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "it did not come about in time"
        time.sleep(0.005)
    return time.monotonic() - started


def group(leader: int) -> list[int]:
    """The living processes of a process group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, pgrp = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except OSError:
                continue
            if int(pgrp) == leader and state not in "ZX":
                found.append(int(entry.name))
    return found


def marked(room: Path) -> None:
    """Wait until a rogue in `room` is at work."""
    soon((room / "marker").exists, WAIT_SECONDS)


# -- the fences


def test_no_socket_of_any_family(room: Path) -> None:
    """The worker can make no socket, neither to the network nor to a local service."""
    assert do("sockets", room) == dict.fromkeys(("AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET", "AF_VSOCK"), errno.EPERM)


def test_ffmpeg_has_no_socket_either(room: Path) -> None:
    """FFmpeg, started by the worker, inherits its fences: an http input fails before anything is sent."""
    seen = do("ffmpeg_socket http://127.0.0.1:9/x.mp4", room)
    assert seen["status"] != 0
    assert "not permitted" in seen["said"]


def test_environment_has_no_secret(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker inherits nothing of its parent's environment but where its code and FFmpeg are."""
    for name in ("DATABASE_URL", "S3_SECRET_KEY", "REDIS_URL", "AWS_SECRET_ACCESS_KEY", "SOMETHING_NEW"):
        monkeypatch.setenv(name, "canary-7713")
    seen = do("environment", room)
    assert "canary-7713" not in json.dumps(seen)
    assert set(seen) <= {
        "PYTHONPATH",
        "LC_ALL",
        "NVE_FFMPEG",
        "MALLOC_ARENA_MAX",
        "OPENBLAS_NUM_THREADS",
        "LD_LIBRARY_PATH",
        "TZ",
        "LC_CTYPE",
    }


def test_no_descriptor_but_the_channel(room: Path, tmp_path: Path) -> None:
    """A descriptor that the parent holds open, even an inheritable one, is not in the worker."""
    with (tmp_path / "secret").open("w") as held:
        os.set_inheritable(held.fileno(), True)
        assert len(do("descriptors", room)) == 1


def test_limits_are_set(room: Path) -> None:
    """The limits the caller gave are the kernel's."""
    seen = do("limits", room, memory_bytes=1 << 30, cpu_seconds=77, output_bytes=12345)
    assert (seen["RLIMIT_AS"], seen["RLIMIT_CPU"], seen["RLIMIT_FSIZE"], seen["RLIMIT_CORE"]) == (1 << 30, 77, 12345, 0)
    assert seen["nice"] >= 5


def test_no_file_outside_the_room(room: Path, tmp_path: Path) -> None:
    """The worker neither reads nor writes outside its room, where the machine's kernel has Landlock."""
    if b"landlock" in b" ".join(str(reason).encode() for reason in session._said):
        pytest.skip("this kernel has no Landlock")
    (tmp_path / "secret").write_text("canary")
    assert do(f"read_file {tmp_path / 'secret'}", room) == errno.EACCES
    assert do("read_file /etc/passwd", room) == errno.EACCES
    assert do(f"read_file /proc/{os.getpid()}/environ", room) == errno.EACCES
    assert do(f"write_file {tmp_path / 'new'}", room) == errno.EACCES
    assert do(f"write_file {room / 'new'}", room) == "done"


def test_cannot_leave_its_group(room: Path) -> None:
    """The worker cannot leave the process group by which it is killed."""
    assert do("escape_group", room) == {"setsid": errno.EPERM, "setpgid": errno.EPERM}


# -- deaths, by what they mean


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT])
def test_decoder_crash(room: Path, number: int) -> None:
    """A worker that crashes makes the source unreadable, and the parent goes on."""
    with pytest.raises(errors.Problem) as caught:
        do(f"die {number}", room)
    assert caught.value.code == "source_unreadable"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGXCPU, signal.SIGXFSZ])
def test_killed_by_the_kernel(room: Path, number: int) -> None:
    """A worker that the kernel ended for want of memory, time or disk was too heavy."""
    with pytest.raises(errors.Problem) as caught:
        do(f"die {number}", room)
    assert caught.value.code == "too_heavy"


def test_unexplained_exit(room: Path) -> None:
    """A worker that just leaves is our own fault, not the source's."""
    with pytest.raises(errors.Problem) as caught:
        do("leave", room)
    assert caught.value.code == "internal"


def test_memory_limit(room: Path) -> None:
    """More memory than allowed ends as too_heavy."""
    with pytest.raises(errors.Problem) as caught:
        do("eat_memory", room, memory_bytes=600 << 20)
    assert caught.value.code == "too_heavy"


def test_cpu_limit(room: Path) -> None:
    """More CPU time than allowed ends as too_heavy."""
    with pytest.raises(errors.Problem) as caught:
        do("burn", room, cpu_seconds=1)
    assert caught.value.code == "too_heavy"


def test_disk_limit(room: Path) -> None:
    """A file larger than allowed ends as too_heavy and is no larger than allowed."""
    with pytest.raises(errors.Problem) as caught:
        do("fill_disk", room, output_bytes=5 << 20)
    assert caught.value.code == "too_heavy"
    assert (room / "big").stat().st_size <= 5 << 20


def test_deadline(room: Path) -> None:
    """A worker that does nothing until the deadline ends as too_heavy, shortly after the deadline."""
    started = time.monotonic()
    with pytest.raises(errors.Problem) as caught:
        do("sleep", room, deadline_seconds=1.5)
    assert caught.value.code == "too_heavy"
    assert 1.4 < time.monotonic() - started < 3  # the deadline, and at most as much again


def test_worker_may_shout(room: Path) -> None:
    """Two megabytes on standard error neither block the worker nor fill the parent."""
    assert do("shout", room) == "done"


# -- lies


@pytest.mark.parametrize("deed", ["read_past_end", "read_stranger", "read_huge", "long_frame", "noise", "deep_json", "fraction_bomb"])
def test_protocol_is_enforced(room: Path, deed: str) -> None:
    """A worker that reads outside its sources or talks nonsense is ended at once, and the parent is unharmed."""
    started = time.monotonic()
    with pytest.raises(errors.Problem) as caught:
        do(deed, room)
    assert caught.value.code == "source_unreadable"
    assert time.monotonic() - started < 5  # no waiting for the deadline


def test_worker_cannot_blame_the_store(room: Path) -> None:
    """A worker cannot have its job tried again by claiming that the object store is down."""
    with pytest.raises(errors.Problem) as caught:
        do("own_words", room)
    assert caught.value.code == "internal"


def test_words_for_strangers_are_clean(room: Path) -> None:
    """Control characters, essays and made-up field names of a worker do not reach a stranger."""
    with pytest.raises(errors.Problem) as caught:
        do("markup", room)
    assert caught.value.detail.startswith("ab[2Jx")
    assert len(caught.value.detail) <= 400
    assert caught.value.field is None


def test_sources_failure_is_the_callers(room: Path) -> None:
    """What a source raises while the worker reads it reaches the caller as it is, and the worker ends."""

    class Down(Bytes):
        def read(self, offset: int, length: int) -> bytes:
            raise errors.STORAGE_UNAVAILABLE()

    with session.open([Down(b"sleep")], room) as media:
        leader = media._post.child.pid
        with pytest.raises(errors.Problem) as caught:
            media.probe()
        assert caught.value.code == "storage_unavailable"
        assert group(leader) == []


# -- kills


@pytest.mark.parametrize("deed", ["encode marker", "children_of_children marker"])
def test_kill_ends_the_group(room: Path, deed: str) -> None:
    """kill() from another thread ends the worker and its FFmpeg within half a second, and the call raises Killed."""
    took: list[float] = []
    with session.open([Bytes(deed.encode())], room) as media:
        leader = media._post.child.pid

        def killer() -> None:
            marked(room)
            assert len(group(leader)) == 2
            started = time.monotonic()
            media.kill()
            soon(lambda: not group(leader), 0.5)
            took.append(time.monotonic() - started)

        thread = threading.Thread(target=killer)
        thread.start()
        with pytest.raises(session.Killed):
            media.probe()
        thread.join()
        with pytest.raises(session.Killed):
            media.probe()
    assert took
    assert took[0] < 0.5


def test_kill_before_open(room: Path) -> None:
    """A session killed before it began never does anything."""
    media = session.open([Bytes(b"sleep")], room)
    media.kill()
    with pytest.raises(session.Killed), media:
        media.probe()


PARENT = """
import sys
from pathlib import Path
from native.media import process, session
process.WORKER = "tests.media.rogue"
class Bytes:
    def __init__(self, data): self.data, self.size = data, len(data)
    def read(self, offset, length): return self.data[offset:offset + length]
if "warm" in sys.argv:
    session.warm()
with session.open([Bytes(b"encode marker")], Path(sys.argv[1])) as media:
    if "warm" in sys.argv:
        session.warm()
        print(session._spare.child.pid, end=" ")
    print(media._post.child.pid, flush=True)
    media.probe()
"""


@pytest.mark.parametrize("spare", [[], ["warm"]])
def test_nothing_outlives_its_parent(room: Path, spare: list[str]) -> None:
    """`kill -9` of the parent leaves neither worker, nor FFmpeg, nor spare, one second later."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", PARENT, str(room), *spare], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        try:
            leaders = [int(pid) for pid in parent.stdout.readline().split()]
            marked(room)
            assert len(group(leaders[-1])) == 2
        finally:
            parent.kill()
        try:
            soon(lambda: not any(group(leader) for leader in leaders), 1.0)
        finally:
            for process_ in (pid for leader in leaders for pid in group(leader)):
                os.kill(process_, signal.SIGKILL)


def test_a_finished_thread_takes_no_worker_along(room: Path) -> None:
    """A worker started by a thread that has ended lives on: the kernel's death signal follows the process, not the thread."""
    media = session.open([Bytes(b"limits")], room)
    thread = threading.Thread(target=media.__enter__)
    thread.start()
    thread.join()
    soon(lambda: not Path(f"/proc/self/task/{thread.native_id}").exists(), WAIT_SECONDS)
    try:
        assert json.loads(media.probe()[0].container)["RLIMIT_CORE"] == 0
    finally:
        media.close()


# -- the spare


def test_spare_is_used_once_and_replaced(room: Path) -> None:
    """open() takes the waiting worker, and another waits when the session has ended; cool() leaves none."""
    session.warm()
    first = session._spare.child.pid
    with session.open([Bytes(b"limits")], room) as media:
        assert media._post.child.pid == first
        media.probe()
    second = session._spare.child.pid
    assert second != first
    assert group(first) == []
    session.cool()
    assert group(second) == []


def test_dead_spare_is_not_used(room: Path) -> None:
    """A spare that has died meanwhile is noticed and another is started."""
    session.warm()
    dead = session._spare.child
    os.kill(dead.pid, signal.SIGKILL)
    soon(lambda: not dead.alive(), WAIT_SECONDS)
    assert do("limits", room)["RLIMIT_CORE"] == 0
