"""Calls on their way to a function and back."""

import contextlib
import json
import socket
import time

import httpx
import pytest

from tests.services.gateway.conftest import until


def read_http(sock: socket.socket) -> bytes:
    """Everything until the server closes or pauses."""
    got = b""
    with contextlib.suppress(TimeoutError):
        while chunk := sock.recv(65536):
            got += chunk
    return got


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_every_method_reaches_the_function(gateway, method):
    """A function sees the client's method, path, query and body."""
    seen = gateway.client.request(method, "/function/echo/a/b?x=1&y=%20", content=b"body").json()

    assert [method, "/a/b?x=1&y=%20", "body"] == [seen["method"], seen["target"], seen["body"]]


def test_head_has_a_length_and_no_body(gateway):
    """HEAD goes through as HEAD."""
    answer = gateway.client.head("/function/echo")

    assert [answer.status_code, answer.content] == [200, b""]
    assert int(answer.headers["content-length"]) > 0


def test_the_path_stays_as_it_was_written(gateway):
    """Escapes in a path are the function's business: %2F is not a slash."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as sock:
        sock.sendall(b"GET /function/echo/a%2Fb//c/?q=%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        body = json.loads(read_http(sock).partition(b"\r\n\r\n")[2])

    assert body["target"] == "/a%2Fb//c/?q=%zz"


@pytest.mark.parametrize("name", ["echo", "echo.openfaas-fn"])
def test_the_namespace_may_be_said(gateway, name):
    """faas-cli calls trim.openfaas-fn, people call trim."""
    assert gateway.client.get(f"/function/{name}").json()["environment"]["WORD"] == "hello"


@pytest.mark.parametrize("path", ["/function/nope", "/function/echo.elsewhere", "/function/.", "/async-function/nope", "/nothing"])
def test_what_does_not_exist_is_a_404_problem(gateway, path):
    """Unknown functions, namespaces and addresses are not found, and say so in JSON."""
    answer = gateway.client.post(path)

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "not_found"


def test_hop_by_hop_headers_stay_on_their_hop(gateway):
    """Connection and what it names are not passed on; who called is."""
    headers = {"Connection": "keep-alive, X-Private", "X-Private": "1", "TE": "trailers", "X-Public": "2", "Authorization": "Bearer abc"}
    answer = gateway.client.get("/function/echo", headers=headers)
    seen = dict(answer.json()["headers"])

    assert not {"connection", "x-private", "te"} & set(seen)
    assert [seen[name] for name in ("x-public", "authorization", "x-forwarded-for", "x-forwarded-proto")] == [
        "2",
        "Bearer abc",
        "127.0.0.1",
        "http",
    ]
    assert f"127.0.0.1:{gateway.port}" == seen["x-forwarded-host"]
    assert "connection" not in answer.headers
    assert answer.headers["x-kept"] == "yes"
    assert len(answer.headers.get_list("date")) == 1


def test_a_call_id_is_kept_or_made(gateway):
    """The client's id comes back and reaches the function; without one there is a new one; a strange one is replaced."""
    given = gateway.client.get("/function/echo", headers={"X-Call-Id": "abc.1-2_3"})
    made = gateway.client.get("/function/echo")
    strange = gateway.client.get("/function/echo", headers={"X-Call-Id": "a b<c>"})
    refused = gateway.client.get("/nothing", headers={"X-Call-Id": "mine"})

    assert "abc.1-2_3" == given.headers["x-call-id"] == dict(given.json()["headers"])["x-call-id"]
    assert 36 == len(made.headers["x-call-id"]) == len(strange.headers["x-call-id"])
    assert made.headers["x-call-id"] == dict(made.json()["headers"])["x-call-id"]
    assert refused.headers["x-call-id"] == "mine"
    assert 0 < float(given.headers["x-duration-seconds"]) < 15
    assert abs(int(given.headers["x-start-time"]) / 1e9 - time.time()) < 60


def test_a_large_body_is_refused_before_it_is_sent(gateway):
    """10 MB with a length answers 413 without any function hearing of it."""
    answer = gateway.client.post("/function/echo/large", content=b"x" * 10_000_000)

    assert [answer.status_code, answer.json()["code"]] == [413, "too_large"]
    assert gateway.notes("begin", path="/large") == []


def test_a_large_body_of_unknown_length_is_refused(gateway):
    """Chunks are counted, too."""
    answer = gateway.client.post("/function/echo/chunks", content=(b"x" * 65536 for _ in range(40)))

    assert [answer.status_code, answer.json()["code"]] == [413, "too_large"]
    assert gateway.notes("begin", path="/chunks") == []


def test_a_body_of_unknown_length_gets_one(gateway):
    """A chunked request reaches the function whole, with its length."""
    seen = gateway.client.post("/function/echo", content=iter([b"ab", b"cd"])).json()

    assert [seen["body"], dict(seen["headers"])["content-length"]] == ["abcd", "4"]


def test_large_answers_come_through_whole(gateway):
    """An answer has no limit."""
    assert gateway.client.get("/function/echo/bytes/5000000").content == b"x" * 5_000_000


def test_events_arrive_as_they_are_sent(gateway):
    """Each event of a stream is at the client within half a second, long before the stream ends."""
    ages = []
    with gateway.client.stream("GET", "/function/echo/events/4/0.3", headers={"Accept": "text/event-stream"}) as answer:
        for line in answer.iter_lines():
            if line.startswith("data:"):
                ages.append(time.time() - json.loads(line[5:])["sent"])

    assert len(ages) == 4
    assert max(ages) < 0.5


def test_a_reader_that_goes_frees_its_place(start):
    """A function with one place answers the next caller soon after the reader of an endless stream has gone."""
    gateway = start({"one": {"environment": {"MAX_INFLIGHT": "1"}, "labels": {"com.openfaas.scale.max": "1"}}})
    with gateway.client.stream("GET", "/function/one/events/1000/0.1") as answer:
        next(answer.iter_lines())

    assert until(lambda: gateway.client.get("/function/one").status_code == 200, "a free place")
    assert until(lambda: gateway.notes("gone"), "the function noticed")


def test_a_post_ends_although_its_client_has_gone(gateway):
    """Who posts and hangs up has asked for work all the same."""
    with pytest.raises(httpx.ReadTimeout):
        gateway.client.post("/function/echo/sleep/1", headers={"X-Call-Id": "gone"}, timeout=0.2)

    assert until(lambda: gateway.notes("end", call="gone"), "the end of the call")
    assert until(lambda: [line["status"] for line in gateway.log() if line.get("call") == "gone"], "a log line") == [200]


def test_a_function_that_dies_under_a_call_is_a_502(gateway):
    """A POST that was given to a process which died is not repeated: nobody knows how far it came."""
    answer = gateway.client.post("/function/pair/die", headers={"X-Call-Id": "dies"})

    assert [answer.status_code, answer.json()["code"]] == [502, "function_lost"]
    assert "retry-after" in answer.headers
    assert len(gateway.notes("begin", call="dies")) == 1
    assert gateway.client.post("/function/pair").status_code == 200


def test_two_keys_are_refused(gateway):
    """A request with two Authorization headers is refused, whichever of them would have done."""
    answer = gateway.client.post("/function/pair", headers=[("Authorization", "Bearer a"), ("Authorization", "Bearer b")])

    assert [answer.status_code, answer.json()["code"]] == [400, "malformed_request"]


def test_an_answer_that_breaks_off_does_not_look_whole(gateway):
    """A client can tell a broken answer from a finished one."""
    with pytest.raises(httpx.RemoteProtocolError):
        gateway.client.get("/function/pair/half")


def test_too_slow_is_a_504(gateway):
    """A function has its write_timeout (here 1 s), then the caller is told."""
    began = time.monotonic()
    answer = gateway.client.post("/function/hasty/sleep/5")

    assert [answer.status_code, answer.json()["code"]] == [504, "function_timeout"]
    assert 0.9 < time.monotonic() - began < 3


def test_a_functions_own_429_is_an_answer(gateway):
    """A quota is for the client to hear, at once, and with its Retry-After."""
    answer = gateway.client.post("/function/echo/code/429/quota_exceeded")

    assert [answer.status_code, answer.json()["code"], answer.headers["retry-after"]] == [429, "quota_exceeded", "1"]


@pytest.mark.parametrize("status", [204, 301, 304, 400, 418, 500, 503])
def test_a_functions_status_is_passed_on(gateway, status):
    """Whatever a function answers, the client gets; redirects are not followed."""
    assert status == gateway.client.get(f"/function/echo/code/{status}").status_code


def test_pages_of_other_origins_are_refused_by_default(gateway):
    """Without named origins a preflight fails and no header invites anybody."""
    headers = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    preflight = gateway.client.options("/function/echo", headers=headers)
    call = gateway.client.get("/function/echo", headers={"Origin": "https://elsewhere.example"})

    assert preflight.status_code == 400
    assert "access-control-allow-origin" not in preflight.headers
    assert "access-control-allow-origin" not in call.headers


def test_named_origins_may_call(start):
    """The gateway answers the preflight itself, so the function is not even started for it."""
    gateway = start(GATEWAY_CORS_ORIGINS="https://editor.example, https://other.example")
    headers = {
        "Origin": "https://editor.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, idempotency-key",
    }
    preflight = gateway.client.options("/function/echo", headers=headers)

    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://editor.example"
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    assert gateway.notes("start") == []
    call = gateway.client.get("/function/echo", headers={"Origin": "https://editor.example"})
    assert call.headers["access-control-allow-origin"] == "https://editor.example"
    assert "X-Call-Id" in call.headers["access-control-expose-headers"]


def test_keys_are_not_logged(gateway):
    """A log line names the call, the function, the status and the time, and never a key."""
    headers = {"Authorization": "Bearer nve_verysecretkey", "X-Call-Id": "logged"}
    gateway.client.get("/function/echo?key=nve_verysecretkey", headers=headers)
    line = until(lambda: next((it for it in gateway.log() if it.get("call") == "logged"), None), "a log line")

    assert [line[name] for name in ("function", "status", "method", "path")] == ["echo", 200, "GET", "/function/echo"]
    assert 0 < line["seconds"] < 15
    assert not any("verysecret" in json.dumps(it) for it in gateway.log())
