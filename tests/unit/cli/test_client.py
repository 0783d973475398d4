"""The HTTP client against a real small server: what it retries, what it says, and how it follows a job."""

from __future__ import annotations

import json
import socket
import time

import pytest

from cli import client as module
from cli import watch
from cli.client import Client, Refused
from cli.failure import Failure, Interrupted, Unreachable, Usage
from cli.screen import Bar, Bars
from tests.unit.cli.api import Answer, Api, Asked
from tests.unit.cli.conftest import JOB, Seen, job

STATUS = f"/function/status/{JOB}"
TRIM = "/function/trim"


def problem(status: int, code: str, detail: str, **more: object) -> Answer:
    return Answer(status, {"type": "x", "title": "t", "status": status, "code": code, "detail": detail, **more})


def events(*documents: dict, cut: bool = False) -> Answer:
    text = ": hello\n\n" + "".join(f"event: job\nid: {n}\ndata: {json.dumps(it)}\n\n" for n, it in enumerate(documents))
    return Answer(200, text.encode(), {"Content-Type": "text/event-stream; charset=utf-8"}, cut=cut)


def test_a_job_is_asked_for_once(server: Api, client: Client) -> None:
    """A busy server and a lost answer are tried again with the same Idempotency-Key, and Retry-After is kept."""
    again = Answer(429, {"code": "busy", "title": "busy"}, {"Retry-After": "1"})
    server.on("POST", TRIM, again, Answer(503, b"<html>"), Answer(202, b"{", cut=True), Answer(202, job()))
    began = time.monotonic()
    assert client.submit("trim", {"source": "x"})["id"] == JOB
    assert time.monotonic() - began >= 1.0
    calls = server.calls("POST", TRIM)
    assert len(calls) == 4
    assert len({call.headers["Idempotency-Key"] for call in calls}) == 1
    assert {call.headers["Prefer"] for call in calls} == {"respond-async"}
    assert {call.headers["Authorization"] for call in calls} == {"Bearer nve_test"}
    assert calls[-1].json == {"source": "x"}


def test_two_jobs_have_two_keys(server: Api, client: Client) -> None:
    """Asking twice on purpose is asking for two jobs."""
    server.on("POST", TRIM, Answer(202, job()))
    client.submit("trim", {})
    client.submit("trim", {})
    assert len({call.headers["Idempotency-Key"] for call in server.calls("POST", TRIM)}) == 2


@pytest.mark.parametrize(
    ("answer", "sentence", "code"),
    [
        (problem(400, "invalid_range", "end must be after start", field="end"), "end must be after start.", 2),
        (problem(400, "invalid_request", "a number is needed", field="sources.2.start"), "sources.2.start: a number is needed.", 2),
        (problem(404, "not_found", "There is no such asset.", field="source"), "source: There is no such asset.", 1),
        (problem(413, "too_large", "The request is too large"), "The request is too large.", 2),
        (
            problem(401, "unauthenticated", "A valid key is needed"),
            "The server does not take this key: set NVE_KEY to a living one, such as `nve keys create NAME` makes.",
            1,
        ),
        (problem(503, "worker_lost", "The worker was lost", job=job("failed")), "The worker was lost.", 1),
        (Answer(500, b"<html>oh</html>"), "The server answered 500 Internal Server Error.", 1),
    ],
)
def test_a_refusal_is_one_clear_sentence(server: Api, client: Client, answer: Answer, sentence: str, code: int) -> None:
    """The problem's detail with its field, at once and without a second try; a wrong request is a usage error."""
    server.on("POST", TRIM, answer)
    with pytest.raises(Refused) as refused:
        client.submit("trim", {})
    assert refused.value.sentence == sentence
    assert refused.value.exit_code == code
    assert len(server.asked) == 1


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed port is exit code 3 and says what to do, after a moment's patience."""
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}", "k") as client, pytest.raises(Unreachable, match="nve up") as refused:
        client.ask("GET", "/", patience=0.3)
    assert refused.value.exit_code == 3


def test_somebody_else_is_there(server: Api, client: Client) -> None:
    """A web page in place of the API is not taken for an answer."""
    server.on("GET", "/function/status", Answer(200, b"<html>router</html>"))
    with pytest.raises(Unreachable, match="not this project's server"):
        client.jobs()


def test_an_address_that_is_none() -> None:
    """NVE_URL=localhost is a usage error, not a traceback."""
    for url in ("localhost:8080", "ftp://x", "http://[::1"):
        with pytest.raises(Usage, match="not the address"):
            Client(url, "k")


@pytest.mark.parametrize("text", ["../upload/x", "", "1", "a/b?c"])
def test_an_id_that_is_none_is_never_part_of_an_address(client: Client, server: Api, text: str) -> None:
    """Ids are checked here: nothing is asked of the server."""
    with pytest.raises(Usage):
        client.job(text)
    assert server.asked == []


def test_following_by_events(server: Api, client: Client) -> None:
    """Every change is heard, and the last document is the result."""
    running = job("running", progress={"percent": 40, "frames": 9, "speed": 2, "eta_seconds": 1})
    server.on("GET", STATUS, events(job(), running, job("succeeded")))
    heard: list[str] = []
    assert watch.to_the_end(client, job(), lambda it: heard.append(it["state"]))["state"] == "succeeded"
    assert heard == ["queued", "running", "succeeded"]
    assert server.asked[0].headers["Accept"] == "text/event-stream"


@pytest.mark.parametrize("broken", [events(job("running"), cut=True), Answer(406, b""), Answer(200, job("running")), Answer(502, b"")])
def test_following_without_events(server: Api, client: Client, broken: Answer) -> None:
    """Where the stream breaks or does not come through, long polling takes over until the end."""

    def reply(asked: Asked) -> Answer:
        if "event-stream" in asked.headers["Accept"]:
            return broken
        return Answer(200, job("succeeded" if len(server.calls("GET", STATUS)) > 5 else "running"))

    server.on("GET", STATUS, reply)
    assert watch.to_the_end(client, job(), lambda it: None)["state"] == "succeeded"
    assert all(call.query == {"wait": ["20"]} for call in server.asked if "event-stream" not in call.headers["Accept"])


def test_a_job_that_is_gone_is_not_waited_for(server: Api, client: Client) -> None:
    """404 ends the watching."""
    with pytest.raises(Refused):
        watch.to_the_end(client, job(), lambda it: None)
    assert len(server.asked) == 1


@pytest.mark.parametrize(("state", "words"), [("failed", "the end is past the end"), ("cancelled", "was cancelled")])
def test_a_job_that_did_not_succeed_is_a_failure(state: str, words: str) -> None:
    """Its reason is the sentence, its document what --json prints."""
    document = job(state, error={"code": "invalid_range", "message": "the end is past the end"})
    with pytest.raises(Failure, match=words) as failed:
        watch.succeeded(document)
    assert failed.value.document == document
    assert failed.value.exit_code == 1


class Pressed(Bar):
    """Ctrl-C, as soon as something moves."""

    def move(self, done: float, note: str = "") -> None:
        raise KeyboardInterrupt


class Keyboard(Bars):
    def add(self, text: str, total: float | None = None, *, unit: str = "bytes") -> Bar:
        return Pressed()


def test_ctrl_c_cancels_our_job(server: Api, client: Client) -> None:
    """The server is asked to cancel, and the document is the cancelled one: exit code 130."""
    server.on("DELETE", STATUS, Answer(202, job("running")))
    server.on("GET", STATUS, Answer(200, job("cancelled")))
    with pytest.raises(Interrupted, match="Cancelled") as stopped:
        watch.shown(client, job(), Keyboard(), "x", ours=True)
    assert stopped.value.exit_code == 130
    assert stopped.value.document["state"] == "cancelled"


def test_ctrl_c_leaves_another_command_s_job_alone(server: Api, client: Client) -> None:
    """`nve job ID --follow` only stops watching."""
    with pytest.raises(Interrupted, match="goes on"):
        watch.shown(client, job(), Keyboard(), "x", ours=False)
    assert server.calls("DELETE", STATUS) == []


def test_ctrl_c_too_late_says_so(server: Api, client: Client) -> None:
    """409: the job ended first, and that is what is said."""
    server.on("DELETE", STATUS, problem(409, "conflict", "The job has ended"))
    with pytest.raises(Interrupted, match="The job has ended"):
        watch.shown(client, job(), Keyboard(), "x", ours=True)


def test_the_bar_hears_the_percent(server: Api, client: Client, bar: Seen) -> None:
    """What the job says is what is shown."""
    server.on("GET", STATUS, events(job("running", progress={"percent": 40}), job("succeeded", progress={"percent": 100})))

    class One(Bars):
        def add(self, text: str, total: float | None = None, *, unit: str = "bytes") -> Bar:
            return bar

    watch.shown(client, job(), One(), "x", ours=True)
    assert bar.moves == [0, 40, 100]
