"""Asynchronous calls: kept, delivered at least once, repeated with patience, given up in the end."""

import json
import time

import httpx
import pytest
import redis

from tests.services.gateway.conftest import until

QUICK = {"QUEUE_BACKOFF_SECONDS": "0.05", "QUEUE_MAX_BACKOFF_SECONDS": "0.2"}


def post(gateway, path, call=None, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()} | ({"X-Call-Id": call} if call else {})
    return gateway.client.post(f"/async-function/{path}", content=b'{"job": "x"}', headers=headers)


def queue(gateway, name="echo"):
    return f"{gateway.folder.name}:queue:{name}"


def dead(gateway, name="echo"):
    with redis.Redis.from_url(gateway.redis_url) as client:
        return [fields for _, fields in client.xrange(f"{gateway.folder.name}:dead:{name}")]


def empty(gateway, name="echo"):
    with redis.Redis.from_url(gateway.redis_url) as client:
        return client.xlen(queue(gateway, name)) == 0


def test_a_call_is_taken_and_delivered(gateway):
    """202 with the call's id and no body; then the function gets what was posted, under that id, with the client's headers."""
    answer = post(gateway, "echo.openfaas-fn/deep/path?x=1", "async-1", X_Kept="yes")
    note = until(lambda: gateway.notes("end", call="async-1"), "its delivery")

    assert [answer.status_code, answer.content, answer.headers["x-call-id"]] == [202, b"", "async-1"]
    assert note[0]["path"] == "/deep/path?x=1"
    assert gateway.notes("begin", call="async-1")[0]["body"] == '{"job": "x"}'
    assert until(lambda: empty(gateway), "an empty queue")


def test_a_large_body_does_not_go_into_the_queue(gateway):
    """256 KiB is the limit of the asynchronous route."""
    fits = gateway.client.post("/async-function/echo", content=b"x" * 262_144)
    large = gateway.client.post("/async-function/echo", content=b"x" * 262_145)

    assert fits.status_code == 202
    assert [large.status_code, large.json()["code"]] == [413, "too_large"]


def test_only_post_can_wait(gateway):
    """The asynchronous route answers POST alone."""
    answer = gateway.client.get("/async-function/echo")

    assert [answer.status_code, answer.json()["code"]] == [405, "method_not_allowed"]


def test_a_passing_failure_is_repeated(start):
    """503 twice, then 200: three deliveries under one id, not sooner than Retry-After asks."""
    gateway = start(QUEUE_BACKOFF_SECONDS="0.3")
    post(gateway, "echo/flaky/2", "flaky")
    until(lambda: len(gateway.notes("end", call="flaky")) == 3, "three deliveries")
    times = [note["time"] for note in gateway.notes("end", call="flaky")]

    # The pauses would be 0.3 s and 0.6 s at most; the 503 itself asks for one second.
    assert min(times[1] - times[0], times[2] - times[1]) >= 1
    assert until(lambda: empty(gateway), "an empty queue")
    assert gateway.metric("gateway_queue_retries_total", function_name="echo.openfaas-fn") == 2


@pytest.mark.parametrize("status", [400, 404, 409, 422, 500])
def test_a_clear_answer_is_not_repeated(gateway, status):
    """What the function refused or broke on is settled by one delivery."""
    post(gateway, f"echo/code/{status}", f"clear-{status}")
    until(lambda: gateway.notes("end", call=f"clear-{status}"), "its delivery")
    until(lambda: empty(gateway), "an empty queue")

    assert len(gateway.notes("begin", call=f"clear-{status}")) == 1


def test_a_hopeless_call_becomes_a_dead_letter(start):
    """After the last delivery the call is kept aside with its reason, without the caller's key, and the queue goes on."""
    gateway = start(QUEUE_MAX_DELIVERIES="3", **QUICK)
    post(gateway, "pair/code/502", "hopeless", Authorization="Bearer nve_secret")
    letter = until(lambda: dead(gateway, "pair"), "a dead letter")[0]
    post(gateway, "pair", "next")

    assert len(gateway.notes("begin", call="hopeless")) == 3
    assert [letter[b"call"], letter[b"deliveries"], letter[b"body"]] == [b"hopeless", b"4", b'{"job": "x"}']
    assert b"3 deliveries" in letter[b"reason"]
    assert "secret" not in json.dumps({k.decode(): v.decode() for k, v in letter.items()})
    assert until(lambda: gateway.notes("end", call="next"), "the next delivery")
    assert gateway.metric("gateway_queue_dead_letters", function_name="pair.openfaas-fn") == 1


def test_a_call_outlives_its_function(start):
    """kill -9 of the replica in the middle of a delivery: the message is delivered again."""
    gateway = start(**QUICK)
    post(gateway, "echo/sleep/1", "survivor")
    until(lambda: gateway.notes("begin", call="survivor"), "the first delivery")
    gateway.replicas()[0].kill()

    assert until(lambda: gateway.notes("end", call="survivor"), "the second delivery")
    assert len({note["pid"] for note in gateway.notes("begin", call="survivor")}) == 2


def test_a_call_outlives_the_gateway(start):
    """kill -9 of the gateway in the middle of a delivery: the next one on the same port goes on at once, without waiting for idleness."""
    gateway = start(QUEUE_IDLE_SECONDS="600")
    post(gateway, "echo/sleep/1", "orphan")
    until(lambda: gateway.notes("begin", call="orphan"), "the first delivery")
    gateway.process.kill()
    gateway.process.wait(5)
    gateway.start(GATEWAY_PORT=str(gateway.port))

    assert until(lambda: gateway.notes("end", call="orphan"), "the second delivery")
    assert until(lambda: empty(gateway), "an empty queue")


def test_a_call_of_a_dead_consumer_is_taken_over(start):
    """A gateway with another name takes over what its predecessor left, once that has been idle for long enough."""
    gateway = start(QUEUE_IDLE_SECONDS="1", QUEUE_BEAT_SECONDS="0.2")
    post(gateway, "echo/sleep/1", "left")
    until(lambda: gateway.notes("begin", call="left"), "the first delivery")
    old = gateway.port
    gateway.process.kill()
    gateway.process.wait(5)
    gateway.start()

    assert gateway.port != old
    assert until(lambda: gateway.notes("end", call="left"), "the second delivery")
    assert len(gateway.notes("begin", call="left")) == 2


def test_a_long_call_is_delivered_once(start):
    """While a call runs it is not idle, however long it takes: two gateways that watch for idle messages leave it alone."""
    first = start(QUEUE_IDLE_SECONDS="0.6", QUEUE_BEAT_SECONDS="0.1", QUEUE_PREFIX="shared")
    second = start(QUEUE_IDLE_SECONDS="0.6", QUEUE_BEAT_SECONDS="0.1", QUEUE_PREFIX="shared")
    post(first, "echo/sleep/2.5", "long")
    until(lambda: first.notes("end", call="long") or second.notes("end", call="long"), "its end")

    assert len(first.notes("begin", call="long") + second.notes("begin", call="long")) == 1


def test_a_call_waits_for_a_function_that_does_not_start(start, tmp_path):
    """A broken function costs its queue time and no message."""
    broken = tmp_path / "broken"
    broken.touch()
    gateway = start({"one": {"environment": {"BROKEN": str(broken)}}}, QUEUE_MAX_DELIVERIES="1", **QUICK)
    post(gateway, "one", "patient")
    until(lambda: len([line for line in gateway.log() if line["event"] == "failing"]) >= 3, "three failed starts")
    broken.unlink()

    assert until(lambda: gateway.notes("end", call="patient"), "its delivery")


def test_queued_calls_leave_a_place_for_callers(start):
    """A function with two places delivers one queued call at a time, so that a caller is served beside it."""
    gateway = start({"two": {"environment": {"MAX_INFLIGHT": "2"}, "labels": {"com.openfaas.scale.max": "1"}}})
    for number in range(3):
        post(gateway, "two/sleep/0.5", f"queued-{number}")
    until(lambda: gateway.notes("begin", path="/sleep/0.5"), "a delivery")
    answer = gateway.client.get("/function/two")
    until(lambda: len(gateway.notes("end", path="/sleep/0.5")) == 3, "all deliveries")
    begins = sorted(note["time"] for note in gateway.notes("begin", path="/sleep/0.5"))
    ends = sorted(note["time"] for note in gateway.notes("end", path="/sleep/0.5"))

    assert answer.status_code == 200
    assert all(begin >= end for begin, end in zip(begins[1:], ends, strict=False))


def test_a_flushed_redis_is_a_new_beginning(start):
    """FLUSHDB takes what was queued and nothing else: the next call is taken and delivered, at once."""
    gateway = start()
    post(gateway, "echo", "before")
    until(lambda: gateway.notes("end", call="before"), "a delivery")
    with redis.Redis.from_url(gateway.redis_url) as client:
        client.flushdb()
    answer = post(gateway, "echo", "after")

    assert answer.status_code == 202
    assert until(lambda: gateway.notes("end", call="after"), "its delivery", within=5)


def test_a_flush_during_a_delivery_is_survived(start):
    """The call that runs ends; its message is gone, which nobody misses."""
    gateway = start()
    post(gateway, "echo/sleep/0.5", "during")
    until(lambda: gateway.notes("begin", call="during"), "its delivery")
    with redis.Redis.from_url(gateway.redis_url) as client:
        client.flushdb()
    post(gateway, "echo", "after")

    assert until(lambda: gateway.notes("end", call="during") and gateway.notes("end", call="after"), "both ends", within=8)


def test_without_redis_the_refusal_is_quick_and_the_rest_works(start, own_servers):
    """Redis down: 503 with Retry-After within 3 s, synchronous calls unharmed, /health says so; back up: all is well again."""
    url = own_servers.home.environment()["REDIS_URL"]
    gateway = start(redis_url=url)
    post(gateway, "echo", "up")
    until(lambda: gateway.notes("end", call="up"), "a delivery")
    own_servers.valkey.stop()
    began = time.monotonic()
    refused = post(gateway, "echo")
    took = time.monotonic() - began
    health = gateway.client.get("/health")

    assert [refused.status_code, refused.json()["code"]] == [503, "queue_unavailable"]
    assert "retry-after" in refused.headers
    assert took < 3
    assert gateway.client.post("/function/echo").status_code == 200
    assert [health.status_code, health.json()["redis"]["ok"]] == [503, False]
    assert gateway.metric("gateway_redis_up") == 0
    own_servers.valkey.start()
    own_servers.valkey.ready()
    assert until(lambda: post(gateway, "echo", "again").status_code == 202, "an accepted call")
    assert until(lambda: gateway.notes("end", call="again"), "its delivery")
    assert until(lambda: gateway.client.get("/health").status_code == 200, "good health")


def test_too_many_waiting_calls_are_refused(start):
    """A queue has a bound; past it the caller hears 429."""
    gateway = start({"one": {"environment": {"MAX_INFLIGHT": "1"}, "labels": {"com.openfaas.scale.max": "1"}}}, QUEUE_MAX_MESSAGES="2")
    codes = [post(gateway, "one/sleep/1").status_code for _ in range(3)]

    assert codes == [202, 202, 429]


def test_twenty_posts_at_once_are_twenty_deliveries(start):
    """Nothing is lost and nothing doubled when much comes at once."""
    gateway = start()
    with httpx.Client(base_url=gateway.url) as client:
        codes = {client.post("/async-function/pair", headers={"X-Call-Id": f"many-{n}"}).status_code for n in range(20)}
    until(lambda: len(gateway.notes("end", function="pair")) == 20, "all of them")

    assert codes == {202}
    assert {note["call"] for note in gateway.notes("begin", function="pair")} == {f"many-{n}" for n in range(20)}
    assert len(gateway.notes("begin", function="pair")) == 20
