"""A stop takes no longer than it says, whatever runs, and costs no message."""

import socket
import time

import psutil
import pytest
import redis

from deployments.local import gateway as local
from tests.services.gateway.conftest import until

NAMES = ("one", "two", "three", "four")
BUSY = {name: {"environment": {"MAX_INFLIGHT": "1"}, "labels": {"com.openfaas.scale.max": "1"}} for name in NAMES}
# Two cores may be busy with other things.
SPARE_SECONDS = 0.7


@pytest.fixture
def frozen():
    """Processes to be frozen, which go on at the end of the test."""
    found: list[psutil.Process] = []
    yield found
    for process in found:
        process.resume()


def begin(gateway):
    """One queued call in hand for each function."""
    for name in NAMES:
        assert gateway.client.post(f"/async-function/{name}", headers={"X-Call-Id": name}).status_code == 202
    until(lambda: {note["call"] for note in gateway.notes("begin")} == set(NAMES), "four calls under way")


def stopped(gateway):
    """How long the stop took."""
    began = time.monotonic()
    assert gateway.stop() == 0
    return time.monotonic() - began


def waiting(gateway):
    """For each function the messages in its queue, and how often each was delivered."""
    with redis.Redis.from_url(gateway.redis_url) as client:
        keys = {name: f"{gateway.folder.name}:queue:{name}" for name in NAMES}
        return {
            name: [entry["times_delivered"] for entry in client.xpending_range(key, "gateway", "-", "+", 10)] for name, key in keys.items()
        }


def delivered_again(gateway):
    """At the next start every call is delivered once more, and then its queue is empty."""
    gateway.start(GATEWAY_PORT=str(gateway.port), SLOW="0")
    until(lambda: len(gateway.notes("begin")) == 2 * len(NAMES) and not any(waiting(gateway).values()), "the second deliveries")
    return sorted(note["call"] for note in gateway.notes("begin")) == sorted(NAMES * 2)


def test_deaf_functions_hold_up_no_stop(start):
    """Four functions that do not hear SIGTERM are killed side by side; their calls stay pending, and the stop is no try of theirs."""
    gateway = start(BUSY, SLOW="60", GATEWAY_KILL_SECONDS="0.5", GATEWAY_SETTLE_SECONDS="1")
    begin(gateway)

    assert stopped(gateway) < 0.5 + SPARE_SECONDS
    assert waiting(gateway) == {name: [1] for name in NAMES}
    assert [line for line in gateway.log() if line["event"] in ("again", "broke off")] == []
    assert delivered_again(gateway)


def test_a_deaf_redis_holds_up_no_stop(start, own_servers, frozen):
    """Four calls end during the stop and Redis does not answer: the stop is as long as it says, and nothing stays behind."""
    gateway = start(BUSY, own_servers.home.environment()["REDIS_URL"], SLOW="0.8", GATEWAY_KILL_SECONDS="1.5", GATEWAY_SETTLE_SECONDS="1")
    begin(gateway)
    frozen.append(psutil.Process(own_servers.valkey.process.pid))
    frozen[0].suspend()
    took = stopped(gateway)
    frozen.pop().resume()

    assert {note["call"] for note in gateway.notes("end")} == set(NAMES)
    assert took < 1.5 + 1 + SPARE_SECONDS
    # Redis may find our last word in its socket when it wakes; where it does not, the call comes again.
    gateway.start(GATEWAY_PORT=str(gateway.port), SLOW="0")
    assert until(lambda: not any(waiting(gateway).values()), "empty queues")


def test_what_ends_during_the_stop_is_settled(start):
    """A call that its function finishes within the grace is not delivered again."""
    gateway = start(BUSY, SLOW="0.5", GATEWAY_KILL_SECONDS="5")
    begin(gateway)

    assert stopped(gateway) < 0.5 + 1 + SPARE_SECONDS
    assert waiting(gateway) == {name: [] for name in NAMES}


def test_a_request_that_never_ends_holds_up_no_stop(start):
    """A client that has sent half of its request is let go when the time is over."""
    gateway = start(GATEWAY_KILL_SECONDS="0.5", GATEWAY_SETTLE_SECONDS="0.5")
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.sendall(b"POST /function/echo HTTP/1.1\r\nHost: gateway\r\nContent-Length: 100\r\n\r\nhalf")
        until(lambda: gateway.client.get("/healthz").status_code == 200, "the request has been read so far")

        assert stopped(gateway) < 0.5 + 0.5 + SPARE_SECONDS


def test_the_local_stack_waits_for_the_gateway(servers, monkeypatch):
    """The supervisor's patience is more than the times it gives to the gateway, those are more than a function's grace, and all of it is
    within the four seconds of `nve down`."""
    for name in ("SHUTDOWN_GRACE_SECONDS", "GATEWAY_KILL_SECONDS", "GATEWAY_SETTLE_SECONDS"):
        monkeypatch.setenv(name, "60")
    given = local.Gateway(servers.home).environment()
    grace, kill, settle = (float(given[f"{name}_SECONDS"]) for name in ("SHUTDOWN_GRACE", "GATEWAY_KILL", "GATEWAY_SETTLE"))

    # A function's server takes 0.2 s for its last bytes.
    assert grace + 0.2 < kill
    assert kill + settle < local.Gateway.patience_seconds
    assert local.Gateway.patience_seconds < 4
