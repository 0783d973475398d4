"""`python -m deployments.local.supervise --data DIR`: start everything, restart what dies, stop everything.

One of it per data directory, by a lock. Everything it starts dies with it; what a killed one left behind nevertheless, the next one ends.
One thread decides and spawns; others only wait for answers.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO

from native import log

from . import child, leftovers, logs, ports, prepare, state
from .gateway import Gateway
from .home import Home
from .postgres import Postgres
from .seaweed import Seaweed
from .server import Server
from .stack import ALREADY_RUNS
from .trouble import Trouble
from .valkey import Valkey

logger = logging.getLogger("supervisor")

# Between the death of a component and its next start, by how often it died lately.
BACKOFF_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
# What lived for so long is well again: the next death starts from the first of these.
WELL_SECONDS = 30.0
# Before the stack was ready once, what dies so often will not be helped by another start.
FIRST_TRIES = 4
START_SECONDS = 60.0
# A stack that was started for one command goes when nobody has borrowed it for so long.
UNUSED_SECONDS = 2.0


class Part:
    """A server under supervision."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.status: state.Status = "waiting"
        self.since: float | None = None
        self.deaths = self.restarts = 0
        self.reason: str | None = None
        self.next_start: float | None = None
        self.ready: Future[None] | None = None

    def shown(self) -> state.Component:
        process = self.server.process
        return state.Component(
            name=self.server.name,
            status=self.status,
            pid=process.pid if process and self.server.running() else None,
            port=self.server.home.ports[self.server.ports[0]],
            since=self.since,
            restarts=self.restarts,
            reason=self.reason,
        )


class Supervisor:
    """The stack of one data directory. `run` returns when it is asked to stop; raises `Trouble` when the stack cannot come up."""

    def __init__(self, home: Home, *, report: IO[str], transient: bool) -> None:
        self.home = home
        self.report = report
        self.transient = transient
        self.stopping = False
        self.announced = False
        self.began = time.monotonic()
        self.pool = ThreadPoolExecutor(8)
        self.prepared: dict[str, Future[None]] = {}
        # In the order of their starts: the store takes longest.
        servers: list[Server] = [Seaweed(home), Valkey(home), postgres := Postgres(home)]
        self._postgres = None if home.is_external("postgres") else postgres
        self.parts = {server.name: Part(server) for server in servers if not home.is_external(server.name)}
        self.external = [server.name for server in servers if home.is_external(server.name)]
        self.gateway = Part(Gateway(home))
        self._woken, self._wake = socket.socketpair()
        self._last_used = time.monotonic()

    # the life of the stack

    def run(self) -> None:
        self._listen_to_signals()
        try:
            leftovers.end(self.home)
            self._check_ports()
            self._save("starting")
            for part in self.parts.values():
                self._start(part)
            self._prepare()
            next_look = 0.0
            while not self.stopping:
                self._look()
                if time.monotonic() > next_look:
                    logs.rotate([part.server.log for part in self._every()])
                    self._count_users()
                    next_look = time.monotonic() + 0.5
                self._sleep()
        finally:
            self._stop()

    def _look(self) -> None:
        """One look at everything, and what follows from it."""
        self._reap()
        for part in self._every():
            self._mind(part)
        for name in [name for name, done in self.prepared.items() if done.done()]:
            self.prepared.pop(name).result()
            self._tell(name, "ready")
        # The store may still be on its way: who is told "ready" is told so when all are.
        if self.gateway.status == "waiting" and "database" not in self.prepared and self._usable("valkey"):
            self._start(self.gateway)
        if not self.announced and not self.prepared and all(part.status == "ready" for part in self._every()):
            self.announced = True
            log.event(logger, logging.INFO, "ready", seconds=round(time.monotonic() - self.began, 2), url=self.home.url)
            self._save("ready")
            self._say({"ready": True})

    def _mind(self, part: Part) -> None:
        """Start again what died, take note of what became ready."""
        if part.next_start is not None:
            if time.monotonic() >= part.next_start:
                self._start(part)
            return
        if part.status == "waiting":
            return
        if not part.server.running():
            self._died(part)
        elif part.ready and part.ready.done():
            late, part.ready = part.ready.exception(), None
            if late is None:
                part.status = "ready"
                self._tell(part.server.name, "ready")
            elif not self.announced:
                raise late
            else:  # it runs and does not answer: what a restart is for
                child.finish(part.server.process, part.server.polite, part.server.patience_seconds) if part.server.process else None

    def _start(self, part: Part) -> None:
        part.next_start = None
        part.status = "starting"
        self._tell(part.server.name, "starting")
        try:
            part.server.start()
        except Trouble:
            if not self.announced:
                raise
            self._again(part)
            return
        part.since = time.time()
        part.ready = self.pool.submit(part.server.ready, START_SECONDS)
        self._wake_when_done(part.ready)
        self._save()

    def _died(self, part: Part) -> None:
        part.reason = part.server.obituary()
        log.event(logger, logging.ERROR, "died", component=part.server.name, reason=part.reason)
        part.deaths = 1 if part.since and time.time() - part.since > WELL_SECONDS else part.deaths + 1
        if not self.announced and part.deaths >= FIRST_TRIES:
            raise Trouble(part.reason)
        part.server.stop(0)
        if part is self.gateway:
            self._end_orphans()
        self._again(part)

    def _again(self, part: Part) -> None:
        part.restarts += 1
        part.status = "restarting"
        part.next_start = time.monotonic() + BACKOFF_SECONDS[min(part.deaths, len(BACKOFF_SECONDS)) - 1]
        self._save()

    # what must be there before the gateway

    def _prepare(self) -> None:
        """Everything that is made in the servers once they answer. Repeating it is harmless."""
        self.prepared["database"] = self._when_ready("postgres", lambda: prepare.database(self.home, self._postgres))
        self.prepared["buckets"] = self._when_ready("seaweed", lambda: prepare.buckets(self.home))

    def _when_ready(self, name: str, work: Callable[[], None]) -> Future[None]:
        def wait_and_work() -> None:
            deadline = time.monotonic() + START_SECONDS
            while not self._usable(name) and not self.stopping:
                if time.monotonic() > deadline:
                    return  # the part itself says why
                time.sleep(0.02)
            if not self.stopping:
                work()

        done = self.pool.submit(wait_and_work)
        self._wake_when_done(done)
        return done

    def _usable(self, name: str) -> bool:
        return name in self.external or self.parts[name].status == "ready"

    # what may be in the way

    def _check_ports(self) -> None:
        """Raises `Trouble` that names the port, who has it, and the way out."""
        ours = {port: part.server.name for part in self._every() for port in part.server.ports}
        # What a killed process held is free when the last of its threads has ended, a moment after the process seems gone.
        deadline = time.monotonic() + 2.0
        for name, port in list(ports.taken(self.home.ports, ours)):
            while not (who := ports.holder_of(port)) and not ports.free(port) and time.monotonic() < deadline:
                time.sleep(0.02)
            if ports.free(port):
                continue
            by = f"by another program ({who})" if who else "by another program"
            if name == "gateway":
                raise Trouble(f"Port {port} is taken {by}: stop that program, or choose another port with `nve up --port {port + 1}`.")
            raise Trouble(
                f"Port {port}, which {ours[name]} of {self.home.path} uses, is taken {by}: stop that program, "
                f"or remove {self.home.path / 'config.json'} to have new ports chosen."
            )

    # the end

    def _stop(self) -> None:
        """The gateway first: it gives running jobs back. Then the servers, side by side."""
        self.stopping = True
        self._save("stopping")
        self.gateway.server.stop()
        self._end_orphans()
        with ThreadPoolExecutor(4) as pool:
            for stopped in [pool.submit(part.server.stop) for part in self.parts.values()]:
                stopped.result()
        self.pool.shutdown(wait=False, cancel_futures=True)
        self._save("stopped")

    def _end_orphans(self) -> None:
        """End what the gateway left: as its children's heir we are their parent now."""
        known = {part.server.process.pid for part in self.parts.values() if part.server.process}
        deadline = time.monotonic() + 2
        while (orphans := [pid for pid in child.children() if pid not in known]) and time.monotonic() < deadline:
            for pid in orphans:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._reap()
            time.sleep(0.01)

    def _reap(self) -> None:
        """Bury adopted children. Those we started ourselves are left for their owners to ask about."""
        ours = {part.server.process.pid: part.server.process for part in self._every() if part.server.process}
        while (dead := child.dead_child()) is not None:
            if dead in ours:
                ours[dead].poll()
            else:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(dead, os.WNOHANG)

    # who uses it

    def _count_users(self) -> None:
        """A transient stack ends when nobody borrows it. `nve up` makes it stay."""
        if self.transient and (self.home.path / "run/stay").exists():
            self.transient = False
            self._save()
        if self.transient and self.announced:
            with (self.home.path / "run/borrowed").open("a") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    self._last_used = time.monotonic()
            self.stopping = self.stopping or time.monotonic() - self._last_used > UNUSED_SECONDS

    # waking, telling

    def _every(self) -> Iterator[Part]:
        yield from self.parts.values()
        yield self.gateway

    def _listen_to_signals(self) -> None:
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)

        def stop(*_: object) -> None:
            self.stopping = True

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only to be woken

    def _sleep(self) -> None:
        pending = [part.next_start for part in self._every() if part.next_start]
        seconds = min([0.5, *(max(0.0, at - time.monotonic()) for at in pending)])
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            if selector.select(seconds):
                with contextlib.suppress(BlockingIOError):
                    self._woken.recv(4096)

    def _wake_when_done(self, future: Future[None]) -> None:
        def wake(_: Future[None]) -> None:
            with contextlib.suppress(OSError):
                self._wake.send(b"\0")

        future.add_done_callback(wake)

    def _tell(self, name: str, status: str) -> None:
        log.event(logger, logging.INFO, status, component=name, seconds=round(time.monotonic() - self.began, 2))
        self._say({"component": name, "status": status})
        self._save()

    def _say(self, event: dict[str, object]) -> None:
        with contextlib.suppress(OSError, ValueError):  # whoever started us has gone, or knows enough
            self.report.write(json.dumps(event) + "\n")
            self.report.flush()

    def _save(self, status: state.Status | None = None) -> None:
        self._status: state.Status = status or getattr(self, "_status", "starting")
        me = child.Identity.of(os.getpid())
        outside = tuple(state.Component(name=name, status="external") for name in self.external)
        if me:
            shown = tuple(part.shown() for part in self._every())
            state.State(status=self._status, supervisor=me, url=self.home.url, transient=self.transient, components=outside + shown).save(
                self.home
            )


def main() -> int:
    parser = argparse.ArgumentParser(prog="supervise")
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--port", type=int)
    parser.add_argument("--transient", action="store_true", help="end when nobody borrows the stack")
    parser.add_argument("--report-fd", type=int, default=1, help="where to say what happens, one JSON object per line")
    options = parser.parse_args()
    os.set_inheritable(options.report_fd, False)
    log.setup("supervisor")
    home = Home(options.data)
    with os.fdopen(options.report_fd, "w") as report:
        try:
            home.prepare()
            with leftovers.lock(home) as ours:
                if not ours:
                    return ALREADY_RUNS
                home.prepare(options.port)
                home.take_external(os.environ)
                (home.path / "run/stay").unlink(missing_ok=True)
                child.adopt_orphans()
                Supervisor(home, report=report, transient=options.transient).run()
        except Trouble as trouble:
            log.event(logger, logging.ERROR, "cannot go on", trouble=str(trouble))
            with contextlib.suppress(OSError):
                print(json.dumps({"trouble": str(trouble)}), file=report, flush=True)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
