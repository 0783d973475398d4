"""The channel's frames, with rubbish on the line."""

from __future__ import annotations

import itertools
import json
import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native import errors
from native.media import channel
from native.media.channel import Kind


def frame(kind: int, payload: bytes) -> bytes:
    return struct.pack("!BI", kind, len(payload)) + payload


@given(payloads=st.lists(st.binary(max_size=600), max_size=8), cuts=st.lists(st.integers(0, 5000), max_size=12))
def test_frames_survive_any_cutting(payloads: list[bytes], cuts: list[int]) -> None:
    """However the bytes arrive, the frames are the ones that were sent."""
    wire = b"".join(frame(Kind.RESULT, payload) for payload in payloads)
    places = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    inbox, seen = channel.Inbox(channel.TO_PARENT), []
    for start, end in itertools.pairwise(places):
        inbox.put(wire[start:end])
        while (one := inbox.take()) is not None:
            seen.append(one)
    assert seen == [(Kind.RESULT, payload) for payload in payloads]


@given(noise=st.binary(max_size=2000))
@settings(max_examples=300)
def test_noise_is_frames_or_broken(noise: bytes) -> None:
    """Any bytes are either frames within their bounds or `Broken`; nothing else can happen."""
    inbox = channel.Inbox(channel.TO_PARENT)
    inbox.put(noise)
    try:
        while (one := inbox.take()) is not None:
            assert len(one[1]) <= channel.TO_PARENT[one[0]]
    except channel.Broken:
        pass


@pytest.mark.parametrize("kind", [0, Kind.CALL, Kind.BYTES, 8, 255])
def test_a_worker_may_not_say_what_parents_say(kind: int) -> None:
    """Kinds that only a parent uses, or nobody, are refused from a worker."""
    inbox = channel.Inbox(channel.TO_PARENT)
    inbox.put(frame(kind, b"{}"))
    with pytest.raises(channel.Broken):
        inbox.take()


def test_length_is_checked_before_the_bytes_come() -> None:
    """A length beyond its kind's bound is refused by its head alone."""
    for kind, most in channel.TO_PARENT.items():
        inbox = channel.Inbox(channel.TO_PARENT)
        inbox.put(struct.pack("!BI", kind, most + 1))
        with pytest.raises(channel.Broken):
            inbox.take()


@pytest.mark.parametrize("request_", [(1, 0, 1), (0, 100, 1), (0, 99, 2), (0, 0, 0), (0, 0, channel.READ_BYTES + 1), (0, 1 << 63, 1)])
def test_reads_stay_inside(request_: tuple[int, int, int]) -> None:
    """A read of another source, past the end, of nothing or of too much is refused."""
    with pytest.raises(channel.Broken):
        channel.wanted(struct.pack("!IQQ", *request_), [100])


@pytest.mark.parametrize("payload", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 50_000, b"9" * 5000])
def test_documents_are_objects_or_broken(payload: bytes) -> None:
    """Anything but a JSON object is `Broken`, however deep or long."""
    with pytest.raises(channel.Broken):
        channel.document(payload)


@pytest.mark.parametrize("code", ["storage_unavailable", "cancelled", "unauthenticated", "no such", None, 5, ["internal"]])
def test_foreign_codes_are_internal(code: object) -> None:
    """A code that is not a worker's to use becomes `internal`, without its words."""
    problem = channel.problem(json.dumps({"code": code, "detail": "lies"}).encode())
    assert (problem.code, problem.detail) == ("internal", errors.INTERNAL.title)


def test_problems_arrive_as_they_were() -> None:
    """Code, words and field of a worker's problem are the caller's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel.Worker(theirs).problem(errors.INVALID_RANGE("The end lies past the end.", field="end"))
        kind, payload = channel.Line(ours, channel.TO_PARENT).hear()
        problem = channel.problem(payload)
    assert (kind, problem.kind, problem.detail, problem.field) == (Kind.PROBLEM, errors.INVALID_RANGE, "The end lies past the end.", "end")


def test_remote_reads_in_pieces_and_stops_at_the_end() -> None:
    """A long read is asked for in allowed pieces; one past the end gives what is there."""
    data = bytes(range(256)) * 40_000
    asked: list[int] = []

    def read(_source: int, offset: int, length: int) -> bytes:
        asked.append(length)
        return data[offset : offset + length]

    remote = channel.Remote(0, len(data), read)
    assert remote.read(1, len(data)) == data[1:]
    assert max(asked) <= channel.READ_BYTES
    assert remote.read(len(data) - 3, 100) == data[-3:]
    assert remote.read(len(data), 1) == b""


def test_closed_is_said() -> None:
    """A line whose other end is gone says `Closed`, reading and writing."""
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        line = channel.Line(ours, channel.TO_PARENT)
        with pytest.raises(channel.Closed):
            line.hear()
        with pytest.raises(channel.Closed):
            line.say(Kind.CALL, b"{}")
