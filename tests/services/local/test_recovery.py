"""Whatever is killed, the stack comes back with everything it had answered for."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg
import pytest
import redis

from deployments.local import buckets, child, stack
from deployments.local.home import ROOT, Home

from .conftest import pid_of, processes, until

Homes = Callable[..., Home]


def remember(home: Home, what: str) -> None:
    """Write the same word to all three servers, and have it acknowledged."""
    at = home.environment()
    with psycopg.connect(at["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS memory (word text)")
        connection.execute("INSERT INTO memory VALUES (%s)", (what,))
    with redis.Redis.from_url(at["REDIS_URL"]) as client:
        client.rpush("memory", what)
    buckets.client(at).put_object("media", f"memory/{what}", io.BytesIO(what.encode()), len(what))


def remembered(home: Home) -> dict[str, list[str]]:
    """What the three servers know."""
    at = home.environment()
    with psycopg.connect(at["DATABASE_URL"]) as connection:
        rows = [row[0] for row in connection.execute("SELECT word FROM memory ORDER BY word")]
    with redis.Redis.from_url(at["REDIS_URL"]) as client:
        items = sorted(item.decode() for item in client.lrange("memory", 0, -1))
    store = buckets.client(at)
    objects: list[str] = []
    for listed in store.list_objects("media", prefix="memory/"):
        with contextlib.closing(store.get_object("media", str(listed.object_name))) as answer:
            objects.append(answer.read().decode())
    return {"postgres": rows, "valkey": items, "seaweed": sorted(objects)}


def everywhere(*words: str) -> dict[str, list[str]]:
    return {name: sorted(words) for name in ("postgres", "valkey", "seaweed")}


def answers(home: Home) -> bool:
    try:
        return httpx.get(f"{home.url}/healthz", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def test_what_dies_is_started_again_with_its_data(new_home: Homes) -> None:
    """kill -9 of each component is followed by a new process of it, which knows all that was acknowledged."""
    home = new_home()
    stack.start(home)
    remember(home, "before")

    for name in ("valkey", "postgres", "seaweed", "gateway"):
        old = pid_of(home, name)
        os.kill(old, signal.SIGKILL)

        def back(name: str = name, old: int = old) -> bool:
            state = stack.status(home)
            now = next((part for part in state.components if part.name == name), None) if state else None
            return now is not None and now.status == "ready" and now.pid != old

        until(back, 20, f"{name} is back")

    assert answers(home)
    assert everywhere("before") == remembered(home)
    state = stack.status(home)
    assert state is not None
    assert [part.restarts for part in state.components] == [1, 1, 1, 1]
    assert all("SIGKILL" in str(part.reason) for part in state.components)


def test_a_killed_supervisor_takes_everything_along(new_home: Homes) -> None:
    """kill -9 of the supervisor leaves no process, and the next start has the data."""
    home = new_home()
    running = stack.start(home)
    remember(home, "before")

    running.supervisor.signal(signal.SIGKILL)

    until(lambda: not processes(home), 10, f"all have gone: {processes(home)}")
    assert stack.status(home) is None
    again = stack.start(home)
    assert running.key == again.key
    assert answers(home)
    assert everywhere("before") == remembered(home)


def test_everything_killed_at_once(new_home: Homes) -> None:
    """kill -9 of the supervisor and all servers in one moment, as a power switch does it, loses nothing acknowledged."""
    home = new_home()
    running = stack.start(home)
    remember(home, "before")

    running.supervisor.signal(signal.SIGSTOP)  # so that it restarts nothing meanwhile
    for name in ("postgres", "valkey", "seaweed", "gateway"):
        os.kill(pid_of(home, name), signal.SIGKILL)
    running.supervisor.signal(signal.SIGKILL)

    until(lambda: not processes(home), 10, f"all have gone: {processes(home)}")
    stack.start(home)
    remember(home, "after")
    assert everywhere("before", "after") == remembered(home)


def test_leftovers_are_ended_by_the_next_start(new_home: Homes) -> None:
    """A server that outlived its supervisor is recognised by pid and start time, ended, and does not keep the ports taken."""
    home = new_home()
    # Started as a supervisor starts it, but by a process that removes the tie and goes away.
    orphan = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from deployments.local import child; child._prctl = None\n"
            "from deployments.local.home import Home; from deployments.local.valkey import Valkey\n"
            "server = Valkey(Home(sys.argv[1])); server.start(); server.ready(); print(server.process.pid)",
            str(home.path),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    left = int(orphan.stdout)
    assert child.started(left)

    stack.start(home)

    assert child.started(left) is None
    assert left != pid_of(home, "valkey")


def test_a_stranger_with_a_recorded_pid_is_left_alone(new_home: Homes) -> None:
    """A pid in an old record that is now somebody else's is not signalled: neither ours nor Postgres's own record is believed."""
    home = new_home()
    stack.start(home)
    stack.stop(home)
    with subprocess.Popen(["sleep", "60"]) as stranger:
        child.Identity(stranger.pid, "another boot:1").save(home.path / "run/valkey.json")
        lock = home.path / "postgres/postmaster.pid"
        lock.write_text(f"{stranger.pid}\n{home.path / 'postgres'}\n1\n{home.ports['postgres']}\n\n127.0.0.1\n")

        try:
            assert stack.start(home).started
            assert stranger.poll() is None
        finally:
            stranger.kill()


@pytest.mark.parametrize("moment", [0.05, 0.3, 0.7])
def test_killed_while_coming_up(new_home: Homes, moment: float) -> None:
    """A supervisor that is killed in the middle of the very first start leaves nothing that keeps the next one from coming up."""
    home = new_home()
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "deployments.local.supervise", "--data", str(home.path)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        supervisor.wait(moment)  # a fault at a chosen time, not a wait for something
    supervisor.kill()
    supervisor.wait()

    stack.start(home)

    remember(home, "after")
    assert everywhere("after") == remembered(home)


def test_long_unusual_path(new_home: Homes) -> None:
    """A data directory whose path is longer than a socket's name may be, with blanks, quotes and umlauts, works like any other."""
    home = new_home("ein \"sehr\" 'langer' Pfad $HOME %d/" + "ü" * 60 + "/" + "x" * 100)
    assert len(os.fsencode(home.path)) > 230

    stack.start(home)

    remember(home, "there")
    assert everywhere("there") == remembered(home)


def test_new_ports_for_old_data(new_home: Homes) -> None:
    """Without its config.json a data directory gets new ports and keeps everything else."""
    home = new_home()
    stack.start(home)
    remember(home, "before")
    key = home.key
    stack.stop(home)
    old = dict(home.ports)
    (home.path / "config.json").unlink()
    other = Home(Path(str(home.path)))
    # Somebody holds one of the old ones: new ones must be chosen.
    import socket

    with socket.create_server(("127.0.0.1", old["valkey"])):
        other.prepare(well_known=False)
        assert old["valkey"] != other.ports["valkey"]
        stack.start(other)

        assert key == other.key
        assert everywhere("before") == remembered(other)
        stack.stop(other)
