"""The process provider: starts a function on its first call, adds replicas under load, mends what dies, stops what is idle."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from gateway.provider.replica import PortTaken, Replica, StartFailed
from gateway.provider.rotation import rotate
from gateway.provider.stackfile import Function
from gateway.settings import Settings
from native import errors, log

logger = logging.getLogger("gateway.provider")

# A queued call may wait, and a stream of events holds its place for minutes; a caller should wait behind neither. So in a
# replica that has more than one place the queue leaves one of them to others, and streams a quarter.
Lane = Literal["call", "stream", "queue"]
LANES: tuple[Lane, ...] = ("call", "stream", "queue")

CRASH_SECONDS = 10.0  # a replica that dies younger than this counts towards a crash loop
FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 0.5, 30.0
FULL_SECONDS = 0.2  # how long a replica that answered 429 is left alone
PORT_TRIES = 3
SWEEP_SECONDS = 0.5
ROTATE_EVERY_SWEEPS = 40


class Pool:
    """The replicas of one function, and the calls that wait for a place in one."""

    def __init__(self, function: Function, settings: Settings, on_cold_start: Callable[[str, float], None]) -> None:
        self.function = function
        self.replicas: list[Replica] = []
        self.problem: str | None = None
        self._settings = settings
        self._on_cold_start = on_cold_start
        self._waiting: dict[Lane, deque[asyncio.Future[Replica]]] = {lane: deque() for lane in LANES}
        self._starting: set[asyncio.Task[None]] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._failures = 0
        self._broken = False
        self._retry_at = 0.0
        self._again: asyncio.TimerHandle | None = None
        self._number = 0
        self._stopping = False

    # -- what it is doing

    @property
    def ready(self) -> list[Replica]:
        return [replica for replica in self.replicas if not replica.draining]

    @property
    def starting(self) -> int:
        return len(self._starting)

    @property
    def inflight(self) -> int:
        return sum(replica.inflight for replica in self.replicas)

    @property
    def waiting(self) -> int:
        return sum(len(lane) for lane in self._waiting.values())

    @property
    def state(self) -> str:
        if self.ready:
            return "ready"
        if self._starting:
            return "starting"
        failing = self._failures > 1 and (self._broken or time.monotonic() < self._retry_at)
        return "failing" if failing else "cold"

    def room(self, lane: Lane) -> int:
        """How many calls of this lane one replica takes at once."""
        most = self.function.max_inflight or 1 << 30
        return {"call": most, "stream": max(1, most * 3 // 4), "queue": max(1, most - 1)}[lane]

    @property
    def queue_parallel(self) -> int:
        return min(64, self.room("queue") * self.function.max_replicas)

    # -- places

    async def acquire(self, wait_seconds: float | None, lane: Lane = "call") -> Replica:
        """A replica with a free place, which is then taken. `None` waits without end. Raises BUSY, FUNCTION_UNAVAILABLE."""
        if self._stopping:
            raise errors.SHUTTING_DOWN("This gateway is stopping; try again")
        if not self._waiting[lane] and (free := self._free(lane)):
            return self._take(free, lane)
        if wait_seconds is not None and self._hopeless(wait_seconds):
            raise self._unavailable()
        place: asyncio.Future[Replica] = asyncio.get_running_loop().create_future()
        self._waiting[lane].append(place)
        self._grow()
        try:
            # While nothing runs yet the wait is for the start, which has its own bound.
            patience = wait_seconds if self.ready or wait_seconds is None else wait_seconds + self._settings.gateway_start_seconds
            async with asyncio.timeout(patience):
                return await place
        except BaseException as exc:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.release(place.result(), lane)
            if isinstance(exc, TimeoutError):
                raise errors.BUSY(f"All workers of {self.function.name} are busy") from None
            raise
        finally:
            with contextlib.suppress(ValueError):
                self._waiting[lane].remove(place)

    def release(self, replica: Replica, lane: Lane = "call") -> None:
        replica.inflight -= 1
        replica.taken[lane] -= 1
        replica.last_used = time.monotonic()
        self._serve()

    def full(self, replica: Replica) -> None:
        """It said 429 although it should have room: leave it alone for a moment."""
        replica.full_until = time.monotonic() + FULL_SECONDS
        asyncio.get_running_loop().call_later(FULL_SECONDS + 0.001, self._serve)

    def _free(self, lane: Lane) -> Replica | None:
        """The least busy replica with room; ties go to the oldest, so that the youngest become idle."""
        now = time.monotonic()
        free = [
            replica
            for replica in self.ready
            if replica.alive
            and replica.full_until <= now
            and replica.inflight < self.room("call")
            and replica.taken[lane] < self.room(lane)
        ]
        return min(free, key=lambda replica: replica.inflight, default=None)

    def _take(self, replica: Replica, lane: Lane) -> Replica:
        replica.inflight += 1
        replica.taken[lane] += 1
        replica.last_used = time.monotonic()
        return replica

    def _serve(self) -> None:
        """Hand free places to those who wait, callers first."""
        for lane, waiting in self._waiting.items():
            while waiting and (free := self._free(lane)):
                place = waiting.popleft()
                if not place.done():
                    place.set_result(self._take(free, lane))
        self._grow()

    # -- growing

    def _grow(self) -> None:
        """Start as many replicas as those who wait would fill, within the function's bounds and after a failure's pause."""
        if self._stopping:
            return
        pause = self._retry_at - time.monotonic()
        missing = self.function.min_replicas - len(self.ready) - len(self._starting)
        while True:
            wanted = self.waiting - len(self._starting) * self.room("call")
            if (wanted <= 0 and missing <= 0) or len(self.ready) + len(self._starting) >= self.function.max_replicas:
                return
            if pause > 0:
                if self._again is None or self._again.cancelled() or self._again.when() < asyncio.get_running_loop().time():
                    self._again = asyncio.get_running_loop().call_later(pause + 0.001, self._grow)
                return
            missing -= 1
            self._begin()

    def _begin(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self._start(), name=f"start {self.function.name}")
        self._starting.add(task)
        task.add_done_callback(self._begun)
        return task

    def _begun(self, task: asyncio.Task[None]) -> None:
        self._starting.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("start", exc_info=error)
        self._serve()

    async def _start(self) -> None:
        began = time.monotonic()
        self._number += 1
        name = f"{self.function.name}-{self._number}"
        try:
            replica = await self._launch(name)
        except (StartFailed, OSError) as exc:
            self._failed(str(exc), broken=True)
            return
        took = time.monotonic() - began
        self.replicas.append(replica)
        self.problem = None
        self._on_cold_start(self.function.name, took)
        log.event(logger, logging.INFO, "started", function=self.function.name, replica=name, pid=replica.pid, seconds=round(took, 3))
        watch = asyncio.create_task(self._watch(replica), name=f"watch {name}")
        self._ending.add(watch)
        watch.add_done_callback(self._ending.discard)

    async def _launch(self, name: str) -> Replica:
        """Raises `StartFailed`; a port that was taken meanwhile is no failure until it has happened thrice."""
        logs = self._settings.logs_dir / f"{self.function.name}.log"
        for _ in range(PORT_TRIES - 1):
            with contextlib.suppress(PortTaken):
                return await Replica.start(self.function, name, logs, self._settings.gateway_start_seconds)
        return await Replica.start(self.function, name, logs, self._settings.gateway_start_seconds)

    def _failed(self, reason: str, *, broken: bool) -> None:
        """Count a failed start (`broken`) or an early death, and set when the next start may be."""
        self._failures += 1
        self.problem, self._broken = reason, broken
        # The first is forgiven at once: it may have been killed from outside.
        pause = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** (self._failures - 2)) if self._failures > 1 else 0.0
        self._retry_at = time.monotonic() + pause
        log.event(logger, logging.ERROR, "failing", function=self.function.name, reason=reason, failures=self._failures, retry_in=pause)
        if self._hopeless(self._settings.gateway_busy_seconds):
            # Queued calls have the patience to wait until somebody has mended the function.
            self._refuse("call", self._unavailable())
            self._refuse("stream", self._unavailable())

    def _unavailable(self) -> errors.Problem:
        pause = max(1, math.ceil(self._retry_at - time.monotonic()))
        return errors.FUNCTION_UNAVAILABLE(f"The function {self.function.name} does not run; its log says why", retry_after=pause)

    def _hopeless(self, wait_seconds: float) -> bool:
        """Would who waits wait in vain? A function that did not even start twice is broken until its next start says otherwise."""
        if self.ready or self._failures < 2:
            return False
        pause = self._retry_at - time.monotonic()
        return pause > wait_seconds or (self._broken and pause > 0)

    def _refuse(self, lane: Lane, problem: errors.Problem) -> None:
        while self._waiting[lane]:
            place = self._waiting[lane].popleft()
            if not place.done():
                place.set_exception(problem)

    async def _watch(self, replica: Replica) -> None:
        """Wait for the process's end, whoever brings it, and take it out of service."""
        code = await replica.process.wait()
        expected = replica.draining
        lived = time.monotonic() - replica.started
        with contextlib.suppress(ValueError):
            self.replicas.remove(replica)
        await replica.stop(0)
        level = logging.INFO if expected and code == 0 else logging.WARNING
        log.event(
            logger, level, "ended", function=self.function.name, replica=replica.name, pid=replica.pid, code=code, seconds=round(lived, 1)
        )
        if expected:
            return
        if lived < CRASH_SECONDS:
            self._failed(f"ended with {code} after {lived:.1f} s", broken=False)
        self._grow()

    # -- shrinking

    def sweep(self) -> None:
        """Stop what has been idle for longer than the function's zero-duration, keep its minimum, forget old failures."""
        now = time.monotonic()
        if self._failures and self.ready and now - self.ready[0].started > CRASH_SECONDS:
            self._failures, self._retry_at = 0, 0.0
        spare = len(self.ready) - self.function.min_replicas
        idle = [r for r in self.ready if r.inflight == 0 and now - r.last_used >= self.function.idle_seconds]
        for replica in sorted(idle, key=lambda r: -r.started)[: max(0, spare)]:
            self._retire(replica)
        self._grow()

    def _retire(self, replica: Replica) -> asyncio.Task[None]:
        """Give it no more calls, let it finish those it has, stop it."""
        replica.draining = True
        task = asyncio.create_task(self._drain(replica), name=f"retire {replica.name}")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    async def _drain(self, replica: Replica) -> None:
        deadline = time.monotonic() + self.function.timeout_seconds
        while replica.inflight and time.monotonic() < deadline and not self._stopping:
            await asyncio.sleep(0.05)
        await replica.stop(self._settings.gateway_kill_seconds)

    async def scale(self, replicas: int) -> None:
        """Have so many replicas now, within the function's maximum. Idleness and load change it again."""
        target = min(replicas, self.function.max_replicas)
        for replica in sorted(self.ready, key=lambda r: r.inflight)[: max(0, len(self.ready) - target)]:
            self._retire(replica)
        for _ in range(target - len(self.ready) - len(self._starting)):
            self._begin()

    async def renew(self, function: Function) -> None:
        """Replace every replica by one of `function`, one after the other; calls go on."""
        self.function = function
        self._failures, self._retry_at, self.problem = 0, 0.0, None
        for old in self.ready:
            await asyncio.wait([self._begin()])
            if self.problem:
                return
            self._retire(old)

    async def stop(self) -> None:
        self._stopping = True
        for lane in self._waiting:
            self._refuse(lane, errors.SHUTTING_DOWN("This gateway is stopping; try again"))
        for task in self._starting:
            task.cancel()
        if self._starting:
            await asyncio.wait(self._starting)
        await asyncio.gather(*(replica.stop(self._settings.gateway_kill_seconds) for replica in list(self.replicas)))
        if self._ending:
            await asyncio.wait(self._ending, timeout=1)


class Provider:
    """All functions of the stack file."""

    def __init__(self, functions: Mapping[str, Function], settings: Settings, on_cold_start: Callable[[str, float], None]) -> None:
        self._settings = settings
        self._on_cold_start = on_cold_start
        self._pools = {name: Pool(function, settings, on_cold_start) for name, function in functions.items()}
        self._sweeper: asyncio.Task[None] | None = None
        self.created = time.time()

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._pools.values())

    def pool(self, name: str) -> Pool:
        """Raises NOT_FOUND."""
        try:
            return self._pools[name]
        except KeyError:
            raise errors.NOT_FOUND(f"There is no function {name[:63]}") from None

    def parallel(self, name: str) -> int:
        """How many queued calls of a function may be under way at once; none of one that was removed."""
        return self._pools[name].queue_parallel if name in self._pools else 0

    def start(self) -> None:
        self._settings.logs_dir.mkdir(parents=True, exist_ok=True)
        self._sweeper = asyncio.create_task(self._sweep(), name="sweep")

    async def _sweep(self) -> None:
        for turn in itertools.count():
            for pool in self._pools.values():
                pool.sweep()
            if turn % ROTATE_EVERY_SWEEPS == 0:
                logs = [self._settings.logs_dir / f"{name}.log" for name in self._pools]
                await asyncio.to_thread(lambda logs=logs: [rotate(log, self._settings.gateway_log_bytes) for log in logs])
            await asyncio.sleep(SWEEP_SECONDS)

    async def renew(self, functions: Mapping[str, Function]) -> None:
        """Take over a changed stack file: new functions appear, removed ones stop, all others are restarted in turn."""
        gone = [self._pools.pop(name) for name in list(self._pools) if name not in functions]
        kept = list(self._pools.values())
        for name, function in functions.items():
            self._pools.setdefault(name, Pool(function, self._settings, self._on_cold_start))
        await asyncio.gather(*(pool.stop() for pool in gone), *(pool.renew(functions[pool.function.name]) for pool in kept))

    async def stop(self) -> None:
        if self._sweeper:
            self._sweeper.cancel()
        await asyncio.gather(*(pool.stop() for pool in self._pools.values()))
