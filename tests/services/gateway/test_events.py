"""/ws: job events for browsers."""

import json
import time

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.services.gateway.conftest import until


def socket(gateway, **options):
    return connect(gateway.url.replace("http", "ws") + "/ws", open_timeout=10, close_timeout=2, **options)


def say(ws, **message):
    ws.send(json.dumps(message))


def hear(ws, timeout=10):
    return json.loads(ws.recv(timeout=timeout))


def hear_the_end(ws):
    """The code with which the other side closes, and what it said before."""
    heard = []
    try:
        while True:
            heard.append(hear(ws))
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None, heard


def test_a_subscription_brings_every_event_as_it_happens(gateway):
    """Each document arrives within half a second of being sent, the last one is terminal."""
    with socket(gateway) as ws:
        say(ws, key="nve_right")
        say(ws, subscribe="job-4-200")
        heard = [(hear(ws), time.time()) for _ in range(4)]

    assert {message["event"] for message, _ in heard} == {"job"}
    assert [message["job"]["number"] for message, _ in heard] == [0, 1, 2, 3]
    assert heard[-1][0]["job"]["state"] == "succeeded"
    # The first one waits for the function's start.
    assert max(at - message["job"]["sent"] for message, at in heard[1:]) < 0.5


@pytest.mark.parametrize("options", [{"additional_headers": {"Authorization": "Bearer nve_right"}}, {"subprotocols": ["nve", "nve_right"]}])
def test_the_key_may_come_with_the_handshake(gateway, options):
    """As a header from programs, as a subprotocol from browsers; the key itself is never chosen as the protocol."""
    with socket(gateway, **options) as ws:
        say(ws, subscribe="job-1-0")

        assert hear(ws)["job"]["id"] == "job-1-0"
        assert ws.subprotocol in (None, "nve")


def test_many_jobs_share_a_socket(gateway):
    """Events of several jobs come mixed, each with its job."""
    with socket(gateway) as ws:
        say(ws, key="nve_right")
        for pause in (50, 60, 70):
            say(ws, subscribe=f"job-3-{pause}")
        jobs = [hear(ws)["job"]["id"] for _ in range(9)]

    assert sorted(jobs) == sorted(["job-3-50", "job-3-60", "job-3-70"] * 3)


def test_unsubscribe_ends_the_stream(gateway):
    """After it nothing more of that job comes, and the function's place is free again."""
    with socket(gateway) as ws:
        say(ws, key="nve_right")
        say(ws, subscribe="job-1000-51")
        hear(ws)
        say(ws, unsubscribe="job-1000-51")
        until(lambda: gateway.metric("gateway_functions_in_flight", function_name="status.openfaas-fn") == 0, "a free place")
        say(ws, subscribe="job-1-0")
        heard = [hear(ws)["job"]["id"]]
        while heard[-1] != "job-1-0":
            heard.append(hear(ws)["job"]["id"])

    assert until(lambda: gateway.notes("gone", path="/job-1000-51"), "the function noticed")


def test_a_closed_socket_ends_its_streams(gateway):
    """Nobody reads on for a browser that has gone."""
    with socket(gateway) as ws:
        say(ws, key="nve_right")
        say(ws, subscribe="job-1000-52")
        hear(ws)

    assert until(lambda: gateway.notes("gone", path="/job-1000-52"), "the function noticed")
    assert until(lambda: gateway.metric("gateway_websockets") == 0, "no open socket")


def test_a_wrong_key_and_an_unknown_job_are_problems(gateway):
    """The function's own refusal is forwarded, and the socket stays open for better questions."""
    with socket(gateway) as ws:
        say(ws, key="nve_right")
        say(ws, subscribe="unknown")
        unknown = hear(ws)
        say(ws, key="nve_wrong")
        say(ws, subscribe="job-1-0")
        wrong = hear(ws)

    assert [unknown["event"], unknown["job_id"], unknown["problem"]["code"]] == ["problem", "unknown", "not_found"]
    assert [wrong["event"], wrong["job_id"], wrong["problem"]["code"]] == ["problem", "job-1-0", "unauthenticated"]


@pytest.mark.parametrize("first", ['{"subscribe": "job-1-0"}', "{}", "nonsense", '{"key": 7}', '{"key": "other"}', b"\x00"])
def test_without_a_key_the_socket_is_closed(gateway, first):
    """Who does not begin with a key is told why and closed with 4401."""
    with socket(gateway) as ws:
        ws.send(first)
        code, _ = hear_the_end(ws)

    assert code == 4401


@pytest.mark.parametrize("message", ["nonsense", "[1]", '{"subscribe": 7}', '{"subscribe": "../upload"}', '{"other": 1}', "[" * 5000])
def test_nonsense_is_answered_with_a_problem(gateway, message):
    """The socket survives what it does not understand."""
    with socket(gateway) as ws:
        say(ws, key="nve_right")
        ws.send(message)
        answer = hear(ws)
        say(ws, subscribe="job-1-0")

        assert [answer["event"], answer["problem"]["status"]] == ["problem", 400]
        assert hear(ws)["event"] == "job"


def test_subscriptions_are_bounded_and_hearts_beat(start):
    """A third subscription of two is refused; a quiet socket hears a heartbeat; a gateway that stops says goodbye."""
    gateway = start(WS_MAX_SUBSCRIPTIONS="2", WS_BEAT_SECONDS="0.5")
    with socket(gateway) as ws:
        say(ws, key="nve_right")
        for number in (1, 2, 3):
            say(ws, subscribe=f"job-2-{60_000 + number}")
        heard = [hear(ws) for _ in range(4)]
        refusals = [it for it in heard if it["event"] == "problem"]
        gateway.stop()
        code, rest = hear_the_end(ws)

    assert [(it["job_id"], it["problem"]["code"]) for it in refusals] == [("job-2-60003", "quota_exceeded")]
    assert {"event": "heartbeat"} in heard + rest
    assert code in (1001, 1012)


def test_pages_of_other_origins_get_no_socket(gateway):
    """A page from elsewhere is refused before the handshake; our own page is not."""
    with pytest.raises(InvalidStatus) as refused, socket(gateway, origin="https://elsewhere.example"):
        pass
    with socket(gateway, origin=gateway.url) as ws:
        say(ws, key="nve_right")
        say(ws, subscribe="job-1-0")

        assert hear(ws)["event"] == "job"
    assert refused.value.response.status_code == 403


def test_a_broken_stream_is_opened_again(start):
    """When the status function dies the socket goes on with its successor."""
    gateway = start()
    with socket(gateway) as ws:
        say(ws, key="nve_right")
        say(ws, subscribe="job-1000-100")
        hear(ws)
        gateway.replicas()[0].kill()
        until(lambda: len(gateway.notes("begin", path="/job-1000-100")) == 2, "the second stream")

        assert until(lambda: hear(ws)["job"]["number"] == 0, "the state again")
