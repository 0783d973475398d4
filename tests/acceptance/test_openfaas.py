"""What OpenFaaS's own client sends, byte for byte, to the gateway."""

import http.client
import json
import socket
import time
from urllib.parse import urlsplit

import pytest


def invoke(url, path, body, key):
    """What `faas-cli invoke NAME -H "Authorization: Bearer …"` writes to the line, body from its standard input; the answer."""
    address = urlsplit(url)
    head = (
        f"POST {path} HTTP/1.1\r\n"
        f"Host: {address.netloc}\r\n"
        "User-Agent: faas-cli/0.18.0\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"Authorization: Bearer {key}\r\n"
        "Content-Type: text/plain\r\n"
        "Accept-Encoding: gzip\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port), timeout=60) as line:
        line.sendall(head.encode() + body)
        answer = http.client.HTTPResponse(line, method="POST")
        answer.begin()
        return answer.status, answer.headers, answer.read()


@pytest.fixture
def key(stack):
    return (stack / "secrets/key").read_text().strip()


@pytest.fixture
def body(user, clip):
    """As `echo` writes it: with a line's end."""
    return json.dumps({"source": user.upload(clip), "start": 1, "end": 2}).encode() + b"\n"


@pytest.mark.parametrize("name", ["trim.openfaas-fn", "trim"])
def test_invoke_is_answered_with_the_finished_job(name, url, key, body):
    """`faas-cli invoke trim` writes the finished job: its body is JSON whatever its Content-Type says."""
    status, headers, answer = invoke(url, f"/function/{name}", body, key)

    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(answer)["result"]["frames"] == 30


@pytest.mark.parametrize("name", ["trim.openfaas-fn", "trim"])
def test_invoke_async_is_done_later(name, url, key, body, user):
    """`faas-cli invoke --async trim` is taken with 202 and a call id, and done once."""
    status, headers, answer = invoke(url, f"/async-function/{name}", body, key)
    asset = json.loads(body)["source"]
    deadline, found = time.monotonic() + 60, []
    while time.monotonic() < deadline and not found:
        jobs = user.http.get("/function/status", params={"state": "succeeded"}).json()["jobs"]
        found = [job for job in jobs if job["request"].get("source") == asset]
        time.sleep(0.1)  # the gateway says when it has taken a call, not when it is done

    assert (status, answer) == (202, b"")
    assert headers["X-Call-Id"]
    assert [job["result"]["frames"] for job in found] == [30]


def test_invoke_without_a_key_is_refused(url, body):
    """Without a key `faas-cli invoke` is told 401, and nothing is done."""
    status, _, answer = invoke(url, "/function/trim.openfaas-fn", body, "nve_wrong")

    assert (status, json.loads(answer)["code"]) == (401, "unauthenticated")
