"""Log lines: one JSON object each, without anything that opens a door."""

import contextlib
import io
import json
import logging
import sys

import pytest

from native import log

SECRETS = {
    "a signed address": (
        "http://127.0.0.1/b/k?X-Amz-Credential=AK%2F1&X-Amz-Date=2&X-Amz-Signature=0a1b2c",
        "http://127.0.0.1/b/k?X-Amz-Credential=…&X-Amz-Date=2&X-Amz-Signature=…",
    ),
    "a session's token": ("X-Amz-Security-Token=abc/def= next", "X-Amz-Security-Token=… next"),
    "a key of ours": ("Bearer nve_AbC-123_xyz90 was sent", "Bearer nve_… was sent"),
    "a database's password": ("postgresql://nve:s3cr3t!@127.0.0.1:5432/nve", "postgresql://nve:…@127.0.0.1:5432/nve"),
    "a password without a name": ("redis://:s3cr3t@127.0.0.1/0", "redis://:…@127.0.0.1/0"),
    "two in a line": ("nve_aaaaaaaaaa, nve_bbbbbbbbbb", "nve_…, nve_…"),
}
PLAIN = ["http://127.0.0.1:8080/function/trim", "the database nve_template", "10:30 a@b", "X-Amz-Date=20260101"]


@pytest.mark.parametrize("what", SECRETS)
def test_a_secret_is_struck_out(what):
    """What opens a door is replaced, and what is around it stays."""
    said, written = SECRETS[what]

    assert log.redact(said) == written


@pytest.mark.parametrize("text", [PLAIN[0], PLAIN[2], PLAIN[3]])
def test_what_is_no_secret_stays(text):
    """Addresses, times and names are written as they are."""
    assert log.redact(text) == text


@pytest.fixture
def lines(monkeypatch):
    """What has been logged since, as objects; the root logger is as it was, afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    log.setup("trim")
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    root.handlers[:], root.level = handlers, level
    log._service.clear()


def test_an_event_is_one_line_with_its_facts(lines):
    """An event's line has its time, its service, what is bound, and its facts; a line break in a fact does not make two lines."""
    with log.bind(job="j1", attempt=2):
        log.event(logging.getLogger("flow"), logging.WARNING, "attempt failed", detail="a\nb", code="internal")
    (line,) = lines()

    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "warning", "logger": "flow", "event": "attempt failed", "service": "trim",
        "job": "j1", "attempt": 2, "detail": "a\nb", "code": "internal",
    }  # fmt: skip


def test_what_is_bound_ends_with_its_block(lines):
    """Facts bound inside are added to those bound outside, and gone after the block, also after an exception."""
    with log.bind(call="c"):
        with contextlib.suppress(KeyError), log.bind(job="j"):
            inside = log.bound()
            raise KeyError
        logging.getLogger("x").info("after")
    (line,) = lines()

    assert inside == {"call": "c", "job": "j"}
    assert (line["call"], "job" in line) == ("c", False)
    assert log.bound() == {}


def test_secrets_are_struck_out_of_facts_and_exceptions(lines):
    """Neither a fact nor a traceback carries a key or a password."""
    try:
        raise ValueError("postgresql://nve:s3cr3t@127.0.0.1/nve")
    except ValueError:
        logging.getLogger("x").error("bad", exc_info=sys.exc_info(), extra={"facts": {"key": "nve_0123456789"}})
    (line,) = lines()

    assert "s3cr3t" not in line["exception"]
    assert "postgresql://nve:…@127.0.0.1/nve" in line["exception"]
    assert line["key"] == "nve_…"


def test_secrets_in_odd_spellings_are_struck_out():
    """A password with an @ in it, and a signature that was encoded for another address, leave nothing behind."""
    assert log.redact("postgresql://u:a@b@h/x") == "postgresql://u:…@h/x"
    assert "abcd" not in log.redact("next=http%3A%2F%2Fh%2Fx%3FX-Amz-Signature%3Dabcd")
