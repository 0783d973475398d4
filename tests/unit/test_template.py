"""The template's server around a handler of any kind: its answers, its limit, and an end that loses nothing."""

import json
import signal
import threading
import time

import httpx
import pytest

from tests.function import Function

# A handler that waits as long as a file is there, and writes down what it is told.
HANDLER = """
import pathlib, time

HERE = pathlib.Path(__file__).parent

class Handle:
    def __call__(self, event, context):
        if event.path == "/wait":
            (HERE / "begun").touch()
            while (HERE / "hold").exists():
                time.sleep(0.01)
        if event.path == "/broken":
            raise RuntimeError("secret words")
        if event.path == "/text":
            return "plain"
        return {"statusCode": 201, "body": {"path": event.path, "method": event.method, "q": event.query.get("q"),
                "body": event.body.decode(), "x": event.headers.get("x-a")}, "headers": {"X-B": 7}}

    def warm(self):
        (HERE / "warm").touch()

    def stop(self, grace_seconds):
        (HERE / "stopped").write_text(str(grace_seconds))

handle = Handle()
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "handler.py").write_text(HANDLER)
    return tmp_path


@pytest.fixture
def function(folder):
    with Function("any", {}, folder / "log", FUNCTION_DIR=str(folder), MAX_INFLIGHT="1", SHUTDOWN_GRACE_SECONDS="2") as it:
        yield it


def until(claim, seconds=10):
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.01)  # another process writes the file: there is nothing to wait on


@pytest.fixture
def held(function, folder):
    """A request that is being answered; its answer comes when the file `hold` is gone."""
    (folder / "hold").touch()
    answers = []

    def ask():
        try:
            answers.append(httpx.post(f"{function.url}/wait", content=b"x", timeout=20))
        except httpx.TransportError as exc:
            answers.append(exc)

    thread = threading.Thread(target=ask)
    thread.start()
    until((folder / "begun").exists)
    yield lambda: (thread.join(20), answers)[1]
    (folder / "hold").unlink(missing_ok=True)
    thread.join(20)


def test_a_handler_sees_the_request_and_is_heard(function):
    """Path, method, query, body and headers reach the handler; its status, body and headers reach the caller."""
    answer = httpx.put(f"{function.url}/a/b?q=1", content=b"hello", headers={"X-A": "v"})

    assert answer.json() == {"path": "/a/b", "method": "PUT", "q": "1", "body": "hello", "x": "v"}
    assert (answer.status_code, answer.headers["X-B"], answer.headers["Content-Type"]) == (201, "7", "application/json")
    assert httpx.get(f"{function.url}/text").text == "plain"


def test_a_handler_that_breaks_says_nothing_of_how(function):
    """An exception is a problem document without the exception's words."""
    answer = httpx.get(f"{function.url}/broken")

    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret words" not in answer.text


def test_a_body_that_is_too_large_is_refused(function):
    """More than MAX_BODY_BYTES is 413, and the handler does not see it."""
    answer = httpx.post(function.url, content=b"x" * ((1 << 20) + 1))

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_a_full_function_refuses_more_and_goes_on(function, folder, held):
    """The request beyond the limit is told to come again; the one inside is answered; then there is a place again."""
    refused = httpx.get(function.url)
    ready = httpx.get(f"{function.url}/_/ready")
    (folder / "hold").unlink()

    assert (refused.status_code, refused.json()["code"], refused.headers["Retry-After"]) == (429, "busy", "1")
    assert ready.status_code == 429
    assert [answer.status_code for answer in held()] == [201]
    until(lambda: httpx.get(f"{function.url}/_/ready").status_code == 200)


def test_sigterm_lets_a_request_end_and_takes_no_other(function, folder, held):
    """After SIGTERM what is being answered is answered, what comes is refused with 503, and the process ends with 0."""
    function.signal(signal.SIGTERM)
    until((folder / "stopped").exists)
    ready, refused = httpx.get(f"{function.url}/_/ready"), httpx.get(function.url)
    (folder / "hold").unlink()

    assert (ready.status_code, ready.text) == (503, "stopping")
    assert (refused.status_code, refused.json()["code"], refused.headers["Retry-After"]) == (503, "shutting_down", "1")
    assert [answer.status_code for answer in held()] == [201]
    assert function.process.wait(5) == 0
    assert (folder / "stopped").read_text() == "2.0"


def test_a_request_that_does_not_end_does_not_keep_the_process(function, folder, held):
    """When the grace is over the process ends, with 0, whatever is still being answered."""
    function.signal(signal.SIGTERM)
    until((folder / "stopped").exists)
    function.signal(signal.SIGTERM)  # asking twice is asking once

    assert function.process.wait(2 + 2) == 0
    assert isinstance(held()[0], httpx.TransportError)


def test_a_handler_is_warmed_up_and_may_be_checked(function, folder):
    """`warm` is called when the function has started; a `check` that fails ends it with its own words."""
    until((folder / "warm").exists)
    (folder / "handler.py").write_text(HANDLER + "\ndef check():\n    raise ValueError('S3_ENDPOINT: set it')\nhandle.check = check\n")

    with pytest.raises(AssertionError, match="any cannot start: S3_ENDPOINT: set it"), Function(
        "any", {}, folder / "log2", FUNCTION_DIR=str(folder)
    ):  # fmt: skip
        pass


def test_a_problem_is_a_document(function):
    """Every refusal of the server itself is problem+json with a stable code."""
    answer = httpx.request("TRACE", function.url)

    assert (answer.status_code, json.loads(answer.text)["code"]) == (405, "method_not_allowed")
    assert answer.headers["Content-Type"] == "application/problem+json"
