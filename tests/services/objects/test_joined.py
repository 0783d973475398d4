"""Objects put together inside the store, from a file of ours and ranges of objects that are there."""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from native import errors
from native.objects import door, keys, parts
from native.objects.store import Reader, Span, Store
from native.settings import Settings
from tests.services.objects.toxic import Cut, Fault, Lose, Network, Refuse

MIB = 1 << 20
Make = Callable[[int], Path]
Sources = Callable[[Store], list[Reader]]
SIZES = (22 * MIB + 13, 12 * MIB + 1)
WHOLE = [
    Span(None, 0, 700_001),
    Span(0, MIB + 1, 20 * MIB + 5),
    Span(None, 700_001, 99),
    Span(1, 17, 11 * MIB),
    Span(None, 700_100, 50_000),
]
COPIED = re.compile(r"[?&]partNumber=2(&|$)")  # the second part is one that the store copies


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that a test can wait for, and parts that a test can send; their number stays."""
    monkeypatch.setattr(door, "_BASE", 0.01)
    monkeypatch.setattr(parts, "COPIED", 10 * MIB)


@pytest.fixture(scope="module")
def data() -> list[bytes]:
    return [random.Random(size).randbytes(size) for size in SIZES]


@pytest.fixture
def sources(store: Store, settings: Settings, data: list[bytes], tmp_path: Path) -> Iterator[Sources]:
    """Two objects in the media bucket: as readers of a store."""
    bucket, names = settings.s3_media_bucket, [keys.source(uuid.uuid4().hex) for _ in data]
    for name, content in zip(names, data, strict=True):
        path = tmp_path / "source"
        path.write_bytes(content)
        store.put_file(bucket, name, path, "video/mp4")
    yield lambda through: [through.reader(bucket, name, len(content)) for name, content in zip(names, data, strict=True)]
    for name in names:
        store.delete(bucket, name)


def expected(path: Path, data: list[bytes], spans: list[Span]) -> bytes:
    own = path.read_bytes()
    return b"".join((own if s.source is None else data[s.source])[s.offset : s.offset + s.size] for s in spans)


def nothing_left(store: Store, bucket: str, key: str) -> bool:
    with pytest.raises(errors.Problem) as missing:
        store.stat(bucket, key)
    return missing.value.kind is errors.NOT_FOUND and list(store.uploads(bucket, key)) == []


def test_ranges_of_objects_are_joined_in_the_store(
    far: Store, store: Store, net: Network, bucket: str, key: str, make: Make, sources: Sources, data: list[bytes]
) -> None:
    """The object is the spans one after the other; of the sources only what fills the small parts, and the witnesses, came to us."""
    path, readers = make(750_100), sources(far)
    put = far.put_joined(bucket, key, path, WHOLE, readers, content_type="video/mp4")
    wanted = expected(path, data, WHOLE)
    assert (put.size, put.sha256) == (len(wanted), None)
    assert store.reader(bucket, key, put.size).read(0, put.size) == wanted
    assert sum(reader.bytes_read for reader in readers) <= 2 * parts.LEAST + 64 * 1024
    assert list(store.uploads(bucket, key)) == []


def test_one_range_to_the_end_of_an_object(store: Store, bucket: str, key: str, make: Make, sources: Sources, data: list[bytes]) -> None:
    """The last part may be one that the store copies, and a range may end where its object does."""
    path, spans = make(6 * MIB), [Span(None, 0, 6 * MIB), Span(0, SIZES[0] - 11 * MIB, 11 * MIB)]
    readers = sources(store)
    put = store.put_joined(bucket, key, path, spans, readers, content_type="video/mp4")
    assert store.reader(bucket, key, put.size).read(0, put.size) == expected(path, data, spans)
    assert sum(reader.bytes_read for reader in readers) < 64 * 1024


def test_ranges_too_short_to_copy_are_sent(store: Store, bucket: str, key: str, make: Make, sources: Sources, data: list[bytes]) -> None:
    """Then everything has been seen, and the SHA-256 is known."""
    path, spans = make(1000), [Span(None, 0, 1000), Span(0, 5, MIB), Span(1, 5, 2 * MIB)]
    put = store.put_joined(bucket, key, path, spans, sources(store), content_type="video/mp4")
    assert store.reader(bucket, key, put.size).read(0, put.size) == expected(path, data, spans)
    assert put.sha256 is not None


@pytest.mark.parametrize("refusal", [Refuse(501, b"<Error><Code>NotImplemented</Code></Error>"), Refuse(403), Refuse(500)])
def test_a_store_that_does_not_copy_gets_the_bytes(
    far: Store, store: Store, net: Network, bucket: str, key: str, make: Make, sources: Sources, data: list[bytes], refusal: Fault
) -> None:
    """Whatever the refusal, the first copy or a later one: the same object, from bytes that went through us."""
    seen: list[str] = []

    def plan(method: str, path: str, before: int) -> Fault | None:
        # a copy and its five tries come before the same part is sent
        if method == "PUT" and COPIED.search(path) and not seen:
            if before == (door.TRIES - 1 if refusal.status == 500 else 0):
                seen.append(path)
            return refusal
        return None

    net.plan = plan
    path, readers = make(750_100), sources(far)
    put = far.put_joined(bucket, key, path, WHOLE, readers, content_type="video/mp4")
    assert seen
    assert store.reader(bucket, key, put.size).read(0, put.size) == expected(path, data, WHOLE)


@pytest.mark.parametrize("fault", [Refuse(503, b"<Error><Code>SlowDown</Code></Error>"), Lose(), Cut(50)], ids=lambda f: type(f).__name__)
def test_a_copy_outlives_failures(
    far: Store, store: Store, net: Network, bucket: str, key: str, make: Make, sources: Sources, data: list[bytes], fault: Fault
) -> None:
    """Each request of parts fails once, or is done and its answer lost: the object is whole, and the store has still copied."""
    net.plan = lambda method, path, before: fault if before == 0 and method == "PUT" and "partNumber" in path else None
    path, readers = make(750_100), sources(far)
    put = far.put_joined(bucket, key, path, WHOLE, readers, content_type="video/mp4")
    assert put.sha256 is None
    assert store.reader(bucket, key, put.size).read(0, put.size) == expected(path, data, WHOLE)
    assert sum(reader.bytes_read for reader in readers) <= 2 * parts.LEAST + 64 * 1024


def test_a_store_that_fails_half_way_keeps_nothing(
    far: Store, store: Store, net: Network, bucket: str, key: str, make: Make, sources: Sources
) -> None:
    """When neither copying nor sending works, the upload is aborted: STORAGE_UNAVAILABLE, no object, no parts."""
    net.plan = lambda method, path, before: Refuse(503) if COPIED.search(path) else None
    with pytest.raises(errors.Problem) as refused:
        far.put_joined(bucket, key, make(750_100), WHOLE, sources(far), content_type="video/mp4")
    assert refused.value.kind is errors.STORAGE_UNAVAILABLE
    assert nothing_left(store, bucket, key)


def test_cancel_between_copies_leaves_nothing(
    far: Store, store: Store, net: Network, bucket: str, key: str, make: Make, sources: Sources
) -> None:
    """Cancelled once the store has begun to copy: CANCELLED, no object, no parts."""
    net.plan = lambda method, path, before: None
    stop = lambda: any(method == "PUT" and COPIED.search(path) for method, path in net.requests)  # noqa: E731
    with pytest.raises(errors.Problem) as refused:
        far.put_joined(bucket, key, make(750_100), WHOLE, sources(far), content_type="video/mp4", cancelled=stop)
    assert refused.value.kind is errors.CANCELLED
    assert nothing_left(store, bucket, key)


def test_a_store_that_copies_wrongly_is_caught(
    store: Store, bucket: str, key: str, make: Make, sources: Sources, data: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is off by one byte is found out by reading the borders back; the object is made again from bytes that we sent."""
    honest, copies = store._door.call, []

    def off_by_one(operation: str, **arguments: Any) -> Any:
        if operation == "upload_part_copy":
            start, end = arguments["CopySourceRange"].removeprefix("bytes=").split("-")
            copies.append(start)
            arguments["CopySourceRange"] = f"bytes={int(start) + 1}-{int(end) + 1}"
        return honest(operation, **arguments)

    monkeypatch.setattr(store._door, "call", off_by_one)
    path = make(750_100)
    put = store.put_joined(bucket, key, path, WHOLE, sources(store), content_type="video/mp4")
    assert copies
    assert store.reader(bucket, key, put.size).read(0, put.size) == expected(path, data, WHOLE)


def test_a_source_that_was_replaced_is_not_copied(
    store: Store, settings: Settings, bucket: str, key: str, make: Make, sources: Sources, data: list[bytes]
) -> None:
    """Once something of a source was read, another object under its key is a CONFLICT, and nothing is left."""
    readers = sources(store)
    for reader in readers:
        reader.read(0, 10)
    store.put_bytes(settings.s3_media_bucket, readers[1].key, bytes(len(data[1])))
    with pytest.raises(errors.Problem) as refused:
        store.put_joined(bucket, key, make(750_100), WHOLE, readers, content_type="video/mp4")
    assert refused.value.kind is errors.CONFLICT
    assert nothing_left(store, bucket, key)


def test_a_joined_result_is_never_overwritten(store: Store, bucket: str, key: str, make: Make, sources: Sources) -> None:
    """A key that is taken is a CONFLICT and leaves the first object alone."""
    store.put_file(bucket, key, make(10), "video/mp4")
    with pytest.raises(errors.Problem) as refused:
        store.put_joined(bucket, key, make(750_100), WHOLE, sources(store), content_type="video/mp4")
    assert refused.value.kind is errors.CONFLICT
    assert store.stat(bucket, key).size == 10
    assert list(store.uploads(bucket, key)) == []
