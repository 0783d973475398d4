"""What the network and the store do at their worst: a correct answer or STORAGE_UNAVAILABLE, and nothing left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from native import errors
from native.objects import door, parts
from native.objects.store import Store
from native.settings import Settings
from tests.services.objects.conftest import sha256
from tests.services.objects.toxic import Cut, Fault, Hang, Lose, Network, Plan, Refuse, Trickle

MIB = 1 << 20
Make = Callable[[int], Path]
BUSY = Refuse(503, b"<Error><Code>SlowDown</Code></Error>")
FAULTS = [BUSY, Refuse(500), Refuse(502, b"<html>"), Lose(), Cut(100_000)]


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that a test can wait for; their number stays."""
    monkeypatch.setattr(door, "_BASE", 0.01)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """One second of silence is too much: a third of `Hang(3)`, and far more than the store takes on a busy machine."""
    monkeypatch.setattr(door, "READ_SECONDS", 1.0)


def first(count: int, fault: Fault, method: str | None = None) -> Plan:
    """The first `count` tries of each request (of this method) meet the fault."""
    return lambda m, path, before: fault if before < count and method in {None, m} else None


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_read_outlives_four_failures(far: Store, store: Store, net: Network, bucket: str, key: str, make: Make, fault: Fault) -> None:
    """Four bad answers to a range and one good one give the right bytes."""
    data = make(300_000).read_bytes()
    store.put_bytes(bucket, key, data)
    met: list[int] = []

    def plan(method: str, path: str, before: int) -> Fault | None:
        met.append(before)
        return fault if len(met) <= door.TRIES - 1 else None

    net.plan = plan
    reader = far.reader(bucket, key, len(data))
    assert reader.read(1000, 250_000) == data[1000:251_000]
    assert reader.bytes_read >= 250_000


def test_a_cut_answer_is_continued_where_it_broke(far: Store, store: Store, net: Network, bucket: str, key: str, make: Make) -> None:
    """The retry asks only for what is missing, so no byte of a broken answer is paid twice."""
    data = make(2 * MIB).read_bytes()
    store.put_bytes(bucket, key, data)
    net.plan = lambda method, path, before: Cut(MIB) if before == 0 else None
    reader = far.reader(bucket, key, len(data))
    assert reader.read(0, len(data)) == data
    assert reader.bytes_read == len(data)
    assert len(net.requests) == 2


def test_a_store_that_stays_down_is_given_up(
    far: Store, net: Network, bucket: str, key: str, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """After five tries every verb is STORAGE_UNAVAILABLE, with Retry-After, and without address or key in its words."""
    net.plan = lambda method, path, before: BUSY
    acts: list[Callable[[], object]] = [
        lambda: far.stat(bucket, key),
        lambda: far.reader(bucket, key, 5).read(0, 5),
        lambda: far.put_file(bucket, key, make(10), "video/mp4"),
        lambda: far.put_file(bucket, key, make(9 * MIB), "video/mp4"),
        lambda: far.delete(bucket, key),
        lambda: list(far.list(bucket, "out/")),
        lambda: far.create(bucket, key, "video/mp4"),
    ]
    for act in acts:
        net.requests.clear()
        with pytest.raises(errors.Problem) as refused:
            act()
        assert refused.value.kind is errors.STORAGE_UNAVAILABLE
        assert refused.value.retry_after
        assert not {key, bucket, net.url, "127.0.0.1"} & set(str(refused.value.document()).split())
        assert len(net.requests) == door.TRIES
    assert "testsecret" not in caplog.text


def test_nobody_listens(settings: Settings, bucket: str, key: str) -> None:
    """A refused connection is STORAGE_UNAVAILABLE."""
    with pytest.raises(errors.Problem) as refused:
        Store(settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:9"})).stat(bucket, key)
    assert refused.value.kind is errors.STORAGE_UNAVAILABLE


@pytest.mark.parametrize("size", [100, 2 * parts.SMALLEST + 7])
@pytest.mark.parametrize("fault", [BUSY, Lose(), Hang(3.0)], ids=lambda fault: type(fault).__name__)
@pytest.mark.usefixtures("impatient")
def test_a_put_outlives_failures_of_every_request(
    far: Store, store: Store, net: Network, bucket: str, key: str, make: Make, fault: Fault, size: int
) -> None:
    """Each request of an upload fails once, or is done and its answer lost: the object is whole, and nothing else is there."""
    path = make(size)
    net.plan = first(1, fault)
    put = far.put_file(bucket, key, path, "video/mp4")
    assert put.sha256 == sha256(path)
    assert store.reader(bucket, key, size).read(0, size) == path.read_bytes()
    # A lost answer to "create" leaves an upload without parts that nobody knows; everything else is used or gone.
    assert all(store.list_parts(bucket, key, each.upload_id) == [] for each in store.uploads(bucket, key))


def test_an_upload_that_fails_half_way_leaves_nothing(far: Store, store: Store, net: Network, bucket: str, key: str, make: Make) -> None:
    """When one part cannot be sent, the upload is aborted: STORAGE_UNAVAILABLE, no object, no parts."""
    net.plan = lambda method, path, before: BUSY if "partNumber=2" in path else None
    with pytest.raises(errors.Problem) as refused:
        far.put_file(bucket, key, make(5 * parts.SMALLEST), "video/mp4")
    assert refused.value.kind is errors.STORAGE_UNAVAILABLE
    assert list(store.uploads(bucket, key)) == []
    with pytest.raises(errors.Problem) as missing:
        store.stat(bucket, key)
    assert missing.value.kind is errors.NOT_FOUND


def test_an_error_inside_a_200_is_an_error(far: Store, store: Store, net: Network, bucket: str, key: str, make: Make) -> None:
    """S3 may answer 200 to Complete and put an error in the body: it is tried again, not believed."""
    path = make(parts.SMALLEST + 1)
    trap = Refuse(200, b'<?xml version="1.0"?><Error><Code>InternalError</Code><Message>try again</Message></Error>')
    net.plan = lambda method, request, before: trap if method == "POST" and "uploadId" in request and before == 0 else None
    far.put_file(bucket, key, path, "video/mp4")
    assert store.stat(bucket, key).size == parts.SMALLEST + 1


def test_a_lost_complete_is_not_a_failure(far: Store, store: Store, net: Network, bucket: str, key: str) -> None:
    """The client's upload is joined although the answer to Complete was lost."""
    upload = far.create(bucket, key, "video/mp4")
    httpx.put(far.part_urls(bucket, key, upload, [1], 60)[0], content=b"abc")
    net.plan = lambda method, path, before: Lose() if method == "POST" and before == 0 else None
    assert far.complete(bucket, key, upload, far.list_parts(bucket, key, upload)).size == 3


def test_somebody_elses_object_is_not_taken_for_ours(far: Store, store: Store, net: Network, bucket: str, key: str, make: Make) -> None:
    """A lost first try and a key that someone else took meanwhile, with the same size: CONFLICT."""

    def plan(method: str, path: str, before: int) -> Fault | None:
        if method == "PUT" and before == 0:
            store.put_bytes(bucket, key, b"x" * 100)
            return Refuse(500)
        return None

    net.plan = plan
    with pytest.raises(errors.Problem) as refused:
        far.put_file(bucket, key, make(100), "video/mp4")
    assert refused.value.kind is errors.CONFLICT


def test_a_proxy_that_ignores_ranges_is_not_believed(far: Store, store: Store, net: Network, bucket: str, key: str) -> None:
    """A 200 with the wrong bytes in answer to a range is an error, never data."""
    store.put_bytes(bucket, key, b"a" * 1000)
    net.plan = lambda method, path, before: Refuse(200, b"b" * 1000)
    with pytest.raises(errors.Problem) as refused:
        far.reader(bucket, key, 1000).read(10, 10)
    assert refused.value.kind is errors.STORAGE_UNAVAILABLE


@pytest.mark.usefixtures("impatient")
def test_a_silent_store_is_asked_again(far: Store, store: Store, net: Network, bucket: str, key: str) -> None:
    """A half-open connection ends with the time-out, and the next try reads the bytes."""
    store.put_bytes(bucket, key, b"abc")
    net.plan = first(1, Hang(3.0))
    assert far.reader(bucket, key, 3).read(0, 3) == b"abc"


@pytest.mark.usefixtures("impatient")
def test_a_slow_store_is_waited_for(far: Store, store: Store, net: Network, bucket: str, key: str, make: Make) -> None:
    """Bytes that keep coming, however slowly, are no time-out: 2 s for one answer against a time-out of 1 s of silence."""
    data = make(60_000).read_bytes()
    store.put_bytes(bucket, key, data)
    net.plan = lambda method, path, before: Trickle(30_000)
    began = time.monotonic()
    assert far.reader(bucket, key, len(data)).read(0, len(data)) == data
    assert time.monotonic() - began > 1.5
    assert len(net.requests) == 1


def test_connections_are_kept(far: Store, store: Store, net: Network, bucket: str, key: str, make: Make) -> None:
    """Thirty ranges, one after another, travel on one connection."""
    data = make(MIB).read_bytes()
    store.put_bytes(bucket, key, data)
    reader = far.reader(bucket, key, len(data))
    for i in range(30):
        reader.read(i * 1000, 1000)
    assert net.connections == 1


def test_cancel_ends_a_stuck_upload(far: Store, net: Network, bucket: str, key: str, make: Make) -> None:
    """Cancelling while the store refuses every part ends the upload at the next try's end, not after all parts."""
    stop = threading.Event()

    def plan(method: str, path: str, before: int) -> Fault | None:
        if method == "PUT" and "partNumber" in path:
            stop.set()
            return BUSY
        return None

    net.plan = plan
    with pytest.raises(errors.Problem) as refused:
        far.put_file(bucket, key, make(8 * parts.SMALLEST), "video/mp4", cancelled=stop.is_set)
    assert refused.value.kind in {errors.CANCELLED, errors.STORAGE_UNAVAILABLE}
    assert sum("partNumber" in path for _, path in net.requests) <= door.TRIES * 4
