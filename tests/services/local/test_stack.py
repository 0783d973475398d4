"""The stack as its user meets it: started, shown, stopped, borrowed, in somebody's way."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest

from deployments.local import child, logs, ports, stack
from deployments.local.home import ROOT, Home

from .conftest import pid_of, processes, sockets, until

if TYPE_CHECKING:
    from tests.conftest import Servers

Homes = Callable[..., Home]


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A stack that runs, for the tests that only look."""
    home = Home(tmp_path_factory.mktemp("standing") / "home")
    home.prepare(well_known=False)
    stack.start(home)
    yield home
    stack.stop(home)
    ports.release(home.path, home.ports)


def test_up_and_down(new_home: Homes) -> None:
    """A start answers, tells its steps, shows four components; a stop leaves no process and no socket file; the key stays the same."""
    home, steps = new_home(), []

    first = stack.start(home, on_progress=lambda step: steps.append((step.component, step.status)))

    assert first.started
    assert httpx.get(f"{first.url}/healthz", timeout=5).status_code == 200
    assert {(name, "ready") for name in ("postgres", "valkey", "seaweed", "database", "buckets", "gateway")} <= set(steps)
    state = stack.status(home)
    assert state is not None
    assert [(part.name, part.status) for part in state.components] == [
        (name, "ready") for name in ("seaweed", "valkey", "postgres", "gateway")
    ]
    assert sum(stack.memory(part) or 0 for part in state.components) < 700 << 20
    assert first.key.startswith("nve_")
    assert stack.start(home).started is False

    assert stack.stop(home)

    assert processes(home) == []
    assert sockets(home) == []
    assert stack.stop(home) is False
    assert stack.start(home).key == first.key


def test_two_data_directories_at_once(new_home: Homes) -> None:
    """Two stacks run side by side and share no port, nor do data directories that are not running."""
    one, two, idle = new_home("one"), new_home("two"), new_home("idle")

    stack.start(one)
    stack.start(two)

    every = [number for home in (one, two, idle) for name, port in home.ports.items() for number in ports.listeners(name, port)]
    assert len(every) == len(set(every))
    assert max(every) < 32768
    assert {httpx.get(f"{home.url}/healthz", timeout=5).status_code for home in (one, two)} == {200}
    stack.stop(one)
    assert httpx.get(f"{two.url}/healthz", timeout=5).status_code == 200


def test_a_copied_data_directory_gets_its_own_ports(new_home: Homes) -> None:
    """`cp -r` of a data directory makes one that does not fight with the first for its ports."""
    one, two = new_home("one"), new_home("two")
    (two.path / "config.json").write_bytes((one.path / "config.json").read_bytes())
    copied = Home(two.path)

    copied.prepare(well_known=False)

    assert not set(one.ports.values()) & set(copied.ports.values())
    assert Home(one.path).ports == one.ports


def test_secrets_are_the_users_alone(standing: Home) -> None:
    """Every secret is in a file of mode 0600 in a directory of mode 0700, and none is on a command line or in the state file."""
    home = standing

    assert stat.S_IMODE((home.path / "secrets").stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (home.path / "secrets").iterdir()}
    assert {"postgres", "postgres-admin", "valkey", "s3-access", "s3-secret", "key"} <= set(modes)
    assert set(modes.values()) == {0o600}
    hidden = [path.read_text().strip() for path in (home.path / "secrets").iterdir() if path.suffix != ".json"]
    commands = [Path(f"/proc/{pid}/cmdline").read_text() for pid in processes(home)]
    assert not [word for word in hidden for shown in [*commands, (home.path / "run/state.json").read_text()] if word in shown]
    for name in ("objects", "logs", "run", "work", "valkey", "postgres"):
        assert stat.S_IMODE((home.path / name).stat().st_mode) == 0o700, name


def test_servers_listen_on_loopback_only(standing: Home) -> None:
    """Nothing of the stack can be reached from another machine."""
    home = standing
    mine = {number for name, port in home.ports.items() for number in ports.listeners(name, port)}

    open_to = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            address, _, port = fields[1].rpartition(":")
            if fields[3] == "0A" and int(port, 16) in mine:
                open_to.append((int(port, 16), address))

    assert len(open_to) >= 10
    assert {address for _, address in open_to} == {"0100007F"}


@pytest.mark.parametrize("name", ["gateway", "postgres"])
def test_a_taken_port_is_named(new_home: Homes, name: str) -> None:
    """When another program has one of the ports, the start says which port, who has it and what to do, and leaves nothing running."""
    home = new_home()
    with socket.create_server(("127.0.0.1", home.ports[name])), pytest.raises(stack.Trouble) as refused:
        stack.start(home)

    assert f"Port {home.ports[name]}" in str(refused.value)
    assert f"process {os.getpid()}" in str(refused.value)
    assert ("--port" in str(refused.value)) == (name == "gateway")
    assert processes(home) == []


def test_the_gateway_moves_to_a_given_port(new_home: Homes) -> None:
    """`--port` moves the gateway for good; a running one says that it must be stopped first."""
    home = new_home()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]

    running = stack.start(home, port=port)

    assert running.url == f"http://127.0.0.1:{port}"
    assert httpx.get(f"{running.url}/healthz", timeout=5).status_code == 200
    with pytest.raises(stack.Trouble, match="nve down"):
        stack.start(home, port=port + 1)
    stack.stop(home)
    assert Home(home.path).ports["gateway"] == port


def test_what_cannot_start_says_why(new_home: Homes) -> None:
    """A component's own last words reach the caller, and what did start is stopped again."""
    home = new_home()
    stack.start(home)
    stack.stop(home)
    (home.path / "postgres/global/pg_control").write_bytes(b"\0" * 8192)

    with pytest.raises(stack.Trouble, match=r"postgres .*(control file|checksum|incompatible|pg_control)"):
        stack.start(home)

    assert processes(home) == []


def test_two_starts_at_once(new_home: Homes) -> None:
    """Two `nve up` at the same moment give one stack, and both are told that it answers."""
    home = new_home()
    code = (
        "import sys; from deployments.local import stack; from deployments.local.home import Home\n"
        "running = stack.start(Home(sys.argv[1])); print(running.supervisor.pid, running.started)"
    )

    both = [subprocess.Popen([sys.executable, "-c", code, str(home.path)], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[0].split() for process in both]

    assert len({words[0] for words in said}) == 1, said
    assert sorted(words[1] for words in said) == ["False", "True"]


def test_not_detached_ends_with_its_starter(new_home: Homes) -> None:
    """A stack in the foreground goes when the command that started it is killed."""
    home = new_home()
    code = (
        "import sys, time; from deployments.local import stack; from deployments.local.home import Home\n"
        "stack.start(Home(sys.argv[1]), detach=False); print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(home.path)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == "up\n"
        command.kill()

    until(lambda: not processes(home), 10, "the stack has gone")


def test_borrowed_until_the_last_one_returns_it(new_home: Homes) -> None:
    """A stack started for one command serves the next one too, and goes with the last of them."""
    home = new_home()
    with stack.borrow(home) as first:
        with stack.borrow(home) as second:
            assert (first.started, second.started) == (True, False)
        assert stack.running(home)
    assert not stack.running(home)
    assert processes(home) == []


def test_a_killed_borrower_leaves_no_stack(new_home: Homes) -> None:
    """When the only command that uses a transient stack is killed, the stack notices and goes."""
    home = new_home()
    code = (
        "import sys, time; from deployments.local import stack; from deployments.local.home import Home\n"
        "with stack.borrow(Home(sys.argv[1])): print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(home.path)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == "up\n"
        command.kill()

    until(lambda: not processes(home), 12, "the stack has gone")


def test_up_makes_a_borrowed_stack_stay(new_home: Homes) -> None:
    """`nve up` while a command has borrowed the stack keeps it for good."""
    home = new_home()
    with stack.borrow(home):
        assert stack.start(home).started is False
    assert stack.running(home)


def test_a_given_postgres_is_used(new_home: Homes, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """With DATABASE_URL set no Postgres is started, the given one is migrated, and later commands know of it without the variable."""
    home = new_home()
    with psycopg.connect(servers.postgres.admin_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE outside_{os.getpid()} OWNER nve")
    url = servers.home.environment()["DATABASE_URL"].rpartition("/")[0] + f"/outside_{os.getpid()}"
    monkeypatch.setenv("DATABASE_URL", url)

    running = stack.start(home)
    monkeypatch.delenv("DATABASE_URL")

    state = stack.status(home)
    assert state is not None
    assert {part.name: part.status for part in state.components} == {
        "postgres": "external",
        "seaweed": "ready",
        "valkey": "ready",
        "gateway": "ready",
    }
    assert Home(home.path).environment()["DATABASE_URL"] == url
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM keys").fetchone() == (1,)
    assert running.key.startswith("nve_")
    stack.stop(home)
    assert stack.start(home).started
    assert Home(home.path).environment()["DATABASE_URL"] != url


def test_all_servers_given(new_home: Homes, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every server given only the gateway is started."""
    home = new_home()
    for name, value in servers.home.environment().items():
        if name.startswith(("DATABASE_", "REDIS_", "S3_")):
            monkeypatch.setenv(name, value)
    with psycopg.connect(servers.postgres.admin_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE all_{os.getpid()} OWNER nve")
    monkeypatch.setenv("DATABASE_URL", servers.home.environment()["DATABASE_URL"].rpartition("/")[0] + f"/all_{os.getpid()}")

    stack.start(home)

    state = stack.status(home)
    assert state is not None
    assert [part.name for part in state.components if part.status == "ready"] == ["gateway"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"S3_ENDPOINT": "http://127.0.0.1:9"}, "S3_ACCESS_KEY and S3_SECRET_KEY"),
        ({"DATABASE_URL": "postgresql://nobody:wrong@127.0.0.1:9/none"}, "DATABASE_URL"),
    ],
)
def test_a_given_server_that_cannot_be_used(new_home: Homes, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], said: str) -> None:
    """A given server that is half described or does not answer is named, its password is not, and nothing is left running."""
    home = new_home()
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(stack.Trouble) as refused:
        stack.start(home)

    assert said in str(refused.value)
    assert "wrong" not in str(refused.value)
    assert processes(home) == []


def test_logs_are_followed_through_rotation(new_home: Homes) -> None:
    """A follower sees what was there, what comes, and what comes after the file was cut; the cut-off part is kept once."""
    home = new_home()
    log = home.path / "logs/gateway.log"
    log.write_text("old\n" * 3)
    seen: list[str] = []
    followed = stack.follow_logs(home, "gateway", lines=2)
    threading.Thread(target=lambda: [seen.append(line) for _, line in followed], daemon=True).start()

    until(lambda: seen == ["old", "old"], 5, "the last two lines were shown")
    with log.open("a") as file:
        file.write("new\n")
    until(lambda: seen[2:] == ["new"], 5, "the new line was shown")
    with log.open("a") as file:
        file.truncate(logs.MAX_BYTES + 1)
    logs.rotate([log])
    assert log.stat().st_size == 0
    assert (home.path / "logs/gateway.log.1").stat().st_size == logs.MAX_BYTES
    with log.open("a") as file:
        file.write("newest\n")
    until(lambda: seen[-1] == "newest", 5, "the line after the cut was shown")


def test_a_stopped_supervisor_is_killed_at_last(new_home: Homes, monkeypatch: pytest.MonkeyPatch) -> None:
    """`nve down` ends even a supervisor that hangs, and all that it started."""
    home = new_home()
    running = stack.start(home)
    monkeypatch.setattr(stack, "STOP_SECONDS", 1.0)  # the patience is not what is tested
    running.supervisor.signal(signal.SIGSTOP)

    assert stack.stop(home)

    assert not running.supervisor.alive()
    until(lambda: processes(home) == [], 5, "all have gone")


def test_identity_tells_processes_apart() -> None:
    """A pid with another start time is another process."""
    me = child.Identity.of(os.getpid())
    assert me is not None
    assert me.alive()
    assert not child.Identity(me.pid, me.started + "0").alive()


def test_pid_of_the_postmaster_is_recorded(standing: Home) -> None:
    """The process that the state file calls Postgres is the postmaster, although another program stands before it."""
    home = standing

    assert int((home.path / "postgres/postmaster.pid").read_text().split()[0]) == pid_of(home, "postgres")
