"""Redis saves work and wakes eyes. Without it, or with a slow one, everything goes on, and costs almost nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
import redis

from native import errors
from native.jobs.hints import Hints
from native.jobs.lock import Lock
from native.jobs.progress import Progress
from native.jobs.rate import Rate
from tests.services.jobs.conftest import at_once
from tests.services.jobs.proxy import Proxy
from tests.services.jobs.test_postgres_faults import wait_for

if TYPE_CHECKING:
    from tests.conftest import Servers


@pytest.fixture
def behind(redis_proxy: Proxy) -> Iterator[Hints]:
    """Hints through the proxy."""
    hints = Hints(redis_proxy.url, probe_seconds=0.05)
    yield hints
    hints.close()


def test_lock_is_held_by_one(hints: Hints) -> None:
    """Of twenty at once one gets the lock; when it ends the next one does; a stranger's token ends and extends nothing."""
    lock = Lock(hints)
    tokens = [token for token in at_once(20, lambda _: lock.acquire("job:1", 30)) if token]
    assert len(tokens) == 1
    assert not lock.release("job:1", "stranger")
    assert not lock.extend("job:1", "stranger", 30)
    with lock.hint("job:1", 30) as alone:
        assert not alone
    assert lock.acquire("job:1", 30) is None, "who does not hold it does not end it"
    assert lock.extend("job:1", tokens[0], 30)
    assert lock.release("job:1", tokens[0])
    with lock.hint("job:1", 30) as alone, lock.hint("job:2", 30) as other:
        assert (alone, other) == (True, True)
    with lock.hint("job:1", 30) as alone:
        assert alone


def test_lock_ends_by_itself(hints: Hints, redis_url: str) -> None:
    """A holder that is gone is not waited for longer than it said; its late release does not touch the next holder."""
    lock = Lock(hints)
    late = lock.acquire("job:1", 0.1)
    assert late
    wait_for(lambda: lock.acquire("job:1", 30) is not None, 5)
    assert not lock.release("job:1", late)
    with redis.Redis.from_url(redis_url) as client:
        assert 20_000 < int(client.pttl("nve:lock:job:1")) <= 30_000


def test_progress_is_read_and_fades(hints: Hints, redis_url: str) -> None:
    """What was published last is read; of an unknown job there is nothing; it does not stay for ever."""
    progress = Progress(hints)
    assert progress.read("j") is None
    progress.publish("j", "probing", {"percent": 1})
    progress.publish("j", "encoding", {"percent": 40.5, "speed": None})
    assert progress.read("j") == ("encoding", {"percent": 40.5, "speed": None})
    with redis.Redis.from_url(redis_url) as client:
        assert 100 < int(client.ttl("nve:progress:j")) <= 120


def test_waiters_are_woken(hints: Hints) -> None:
    """Whoever waits for a job is woken by its progress well within a second, and by no other job's; the wait ends at its time-out."""
    progress = Progress(hints)
    with progress.listen("mine") as listener:
        progress.publish("other", "encoding", {})
        started = time.monotonic()
        assert listener.wait(0.2) is False
        assert 0.15 < time.monotonic() - started < 1
        progress.publish("mine", "encoding", {"percent": 1})
        progress.publish("mine", "encoding", {"percent": 2})
        started = time.monotonic()
        assert listener.wait(10) is True, "what was said before the wait, and after the listen, is not missed"
        assert listener.wait(0.05) is False, "two words at once are one reason to look"
        threading.Timer(0.1, progress.publish, ("mine", "done", {})).start()
        assert listener.wait(10) is True
        assert time.monotonic() - started < 3


def test_many_wait_for_one(hints: Hints) -> None:
    """Ten waiters of one job are all woken by one word."""
    progress, listening = Progress(hints), threading.Semaphore(0)

    def wait(_: int) -> bool:
        with progress.listen("mine") as listener:
            listening.release()
            return listener.wait(10)

    def speak() -> None:
        for _ in range(10):
            listening.acquire(timeout=10)
        progress.publish("mine", "done", {})

    threading.Thread(target=speak, daemon=True).start()
    assert at_once(10, wait) == [True] * 10


def rate_allows(rate: Rate) -> bool:
    try:
        rate.check("ann")
    except errors.Problem:
        return False
    return True


def test_rate_is_limited_per_owner(hints: Hints) -> None:
    """Of fifty at once an owner's five are let through, the rest are told when to come again; another owner is not touched."""
    rate = Rate(hints, 5)

    def ask(_: int) -> errors.Problem | None:
        try:
            rate.check("ann")
        except errors.Problem as problem:
            return problem
        return None

    refusals = [refusal for refusal in at_once(50, ask) if refusal]
    assert len(refusals) == 45
    assert {refusal.kind for refusal in refusals} == {errors.QUOTA_EXCEEDED}
    assert all(1 <= (refusal.retry_after or 0) <= 60 for refusal in refusals)
    rate.check("bob")


def test_rate_window_slides(hints: Hints, redis_url: str) -> None:
    """What was asked in the last window counts for the part of it that is less than a minute ago, and no longer."""
    rate = Rate(hints, 100)
    with redis.Redis.from_url(redis_url) as client:

        def now() -> tuple[int, int]:
            return divmod(client.time()[0], 60)

        window = before = allowed = -1
        while window != now()[0]:  # once more, should the window turn meanwhile
            client.flushdb()
            window, before = now()
            client.set(f"nve:rate:{{ann}}:accept:{(window + 2) % 3}", 100)
            allowed = [rate_allows(rate) for _ in range(101)].index(False)
        after = now()[1]
    # a hundred, less the part of the last window's hundred that still counts; two for fractions of seconds
    assert 100 * before / 60 - 2 <= allowed <= 100 * after / 60 + 2


def everything(hints: Hints) -> list[object]:
    """All that a job asks of Redis."""
    lock, progress, rate = Lock(hints), Progress(hints), Rate(hints, 600)
    rate.check("ann")
    with lock.hint("job:1", 30) as alone:
        for percent in range(20):
            progress.publish("j", "encoding", {"percent": percent})
    return [alone, progress.read("j")]


def seconds_of(act: Callable[[], object]) -> float:
    started = time.monotonic()
    act()
    return time.monotonic() - started


def test_slow_redis_costs_one_timeout(behind: Hints, redis_proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    """A Redis that answers after two seconds costs twenty jobs one short time-out together, and one line; it is used again when well."""
    caplog.set_level("INFO", logger="jobs")
    assert everything(behind) == [True, ("encoding", {"percent": 19})]
    redis_proxy.delay = 2.0
    spent = seconds_of(lambda: [everything(behind) for _ in range(20)])
    assert everything(behind) == [True, None]
    assert spent < 0.8, "twenty jobs, one time-out of a quarter of a second"
    redis_proxy.delay = 0.0
    wait_for(lambda: not behind.away, 10)
    assert everything(behind) == [True, ("encoding", {"percent": 19})]
    assert [record.message.split(",")[0] for record in caplog.records if record.name == "jobs"] == [
        "redis does not answer",
        "redis answers again",
    ]


def test_silent_redis_costs_one_timeout(behind: Hints, redis_proxy: Proxy) -> None:
    """The same for a first connection that is accepted and never answered."""
    redis_proxy.delay = 3600.0
    assert seconds_of(lambda: [everything(behind) for _ in range(20)]) < 0.8


def test_dead_redis_costs_nothing(behind: Hints, redis_proxy: Proxy) -> None:
    """A Redis that refuses connections costs twenty jobs less than a time-out, and waiters look by themselves."""
    redis_proxy.up = False
    redis_proxy.cut()
    assert seconds_of(lambda: [everything(behind) for _ in range(20)]) < 0.8
    progress = Progress(behind)
    started = time.monotonic()
    assert progress.wait("j", 10) is True
    assert 0.3 < time.monotonic() - started < 1.5
    assert 0.05 < seconds_of(lambda: progress.wait("j", 0.1)) < 0.4, "never longer than asked"


def test_waiter_survives_an_outage(behind: Hints, redis_proxy: Proxy) -> None:
    """A waiter whose line is cut goes on waiting, first by looking, then by listening again."""
    progress = Progress(behind)
    with progress.listen("j") as listener:
        redis_proxy.up = False
        redis_proxy.cut()
        assert listener.wait(5) is True
        redis_proxy.up = True
        wait_for(lambda: not behind.away, 10)
        listener.wait(0.05)
        threading.Timer(0.1, progress.publish, ("j", "done", {})).start()
        assert seconds_of(lambda: listener.wait(5)) < 2


def test_cut_lines_are_not_an_outage(behind: Hints, redis_proxy: Proxy) -> None:
    """Connections that died with a restarted server are replaced at once: nothing is lost, nothing is called away."""
    everything(behind)
    redis_proxy.cut()
    assert everything(behind) == [True, ("encoding", {"percent": 19})]
    assert not behind.away


def test_flush_and_restart(own_servers: Servers) -> None:
    """After a flush scripts and locks are there again by themselves; a stopped Valkey is done without, and used again when it is back."""
    hints = Hints(own_servers.home.environment()["REDIS_URL"], probe_seconds=0.05)
    assert everything(hints)[0] is True
    token = Lock(hints).acquire("job:9", 30)
    assert token
    hints.client.flushall()
    hints.client.script_flush()
    assert Lock(hints).release("job:9", token) is False
    assert everything(hints) == [True, ("encoding", {"percent": 19})]
    own_servers.valkey.stop()
    assert everything(hints) == [True, None]
    own_servers.valkey.start()
    own_servers.valkey.ready()
    wait_for(lambda: not hints.away, 10)
    assert everything(hints) == [True, ("encoding", {"percent": 19})]
    hints.close()
