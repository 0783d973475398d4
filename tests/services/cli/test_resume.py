"""Uploads and downloads of the command line with a real store: presigned addresses, real parts, real interruptions."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli import transfer
from cli.client import Client
from cli.failure import Unreachable
from cli.screen import Bar
from native.objects import keys, parts
from native.objects.store import Store
from native.settings import Settings
from tests.services.objects.toxic import Cut, Fault, Network, Refuse, network
from tests.unit.cli.api import Answer, Api, Asked, api
from tests.unit.cli.conftest import ASSET

SIZE = 5 * parts.SMALLEST + 1234


class Uploads:
    """The upload function's contract over the real store: what is there is what the store lists."""

    def __init__(self, server: Api, store: Store, bucket: str) -> None:
        self.store, self.bucket, self.key = store, bucket, keys.source(ASSET)
        self.id = store.create(bucket, self.key, "video/mp4")
        server.on("POST", "/function/upload", lambda asked: Answer(201, self.offer()))
        server.on("GET", f"/function/upload/{ASSET}", lambda asked: Answer(200, self.offer()))
        server.on("POST", f"/function/upload/{ASSET}/complete", self.complete)

    def offer(self) -> dict[str, Any]:
        there = {part.number: part for part in self.store.list_parts(self.bucket, self.key, self.id)}
        offered = []
        for part in parts.layout(SIZE):
            about = {"number": part.number, "offset": part.offset, "size": part.size}
            if part.number in there:
                offered.append(about | {"etag": there[part.number].etag})
            else:
                offered.append(about | {"url": self.store.part_urls(self.bucket, self.key, self.id, [part.number], 600)[0]})
        return {"asset": ASSET, "size": SIZE, "state": "uploading", "parts": offered}

    def complete(self, asked: Asked) -> Answer:
        listed = self.store.list_parts(self.bucket, self.key, self.id)
        self.store.complete(self.bucket, self.key, self.id, listed)
        return Answer(200, {"asset": ASSET, "state": "ready"})


class Moving(Bar):
    """Presses Ctrl-C once so many bytes are on their way."""

    def __init__(self, at: float = float("inf")) -> None:
        self.at, self.done = at, 0.0

    def move(self, done: float, note: str = "") -> None:
        self.done = max(self.done, done)
        if done >= self.at:
            self.at = float("inf")
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_PAUSE_SECONDS", 0.01)


@pytest.fixture
def settings(s3: dict[str, str]) -> Settings:
    """Of all the world, only the store."""
    return Settings.model_validate({"database_url": "unused", "redis_url": "unused", **{name.lower(): value for name, value in s3.items()}})


@pytest.fixture
def net(settings: Settings) -> Iterator[Network]:
    """What clients see of the store: a network that can be told to misbehave."""
    with network(settings.s3_endpoint) as net:
        yield net


@pytest.fixture
def store(settings: Settings, net: Network) -> Iterator[Store]:
    store = Store(settings.model_copy(update={"s3_public_endpoint": net.url}))
    yield store
    store.close()


@pytest.fixture
def uploads(settings: Settings, store: Store) -> Iterator[tuple[Client, Uploads]]:
    with api() as server, Client(server.url, "nve_test") as client:
        yield client, Uploads(server, store, settings.s3_media_bucket)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(random.Random(4).randbytes(SIZE))
    return path


def read(store: Store, bucket: str) -> bytes:
    return store.reader(bucket, keys.source(ASSET), SIZE).read(0, SIZE)


def test_an_upload_that_was_interrupted_goes_on(uploads: tuple[Client, Uploads], net: Network, file: Path, tmp_path: Path) -> None:
    """Ctrl-C after two parts: the next run sends the others only, and the store holds the file, bit for bit."""
    client, there = uploads
    # The third part hangs back, so that the interruption finds some parts stored and some not.
    net.plan = lambda method, path, before: Refuse(503) if "partNumber=6" in path or "partNumber=5" in path else None
    with pytest.raises((KeyboardInterrupt, Unreachable)):
        transfer.upload(client, file, tmp_path / "uploads", Moving(at=4 * parts.SMALLEST))
    before = {part.number for part in there.store.list_parts(there.bucket, there.key, there.id)}
    assert before
    assert before < set(range(1, 7))
    net.plan = lambda method, path, before: None
    net.requests.clear()
    bar = Moving()
    assert transfer.upload(client, file, tmp_path / "uploads", bar) == ASSET
    sent = {int(path.partition("partNumber=")[2].partition("&")[0]) for method, path in net.requests if method == "PUT"}
    assert sent == set(range(1, 7)) - before
    assert bar.done == SIZE
    assert read(there.store, there.bucket) == file.read_bytes()


def test_a_bad_network_is_outlived(uploads: tuple[Client, Uploads], net: Network, file: Path, tmp_path: Path) -> None:
    """Each part is refused once, and each range of the download is cut once: both ends hold the same bytes."""
    client, there = uploads

    def plan(method: str, path: str, before: int) -> Fault | None:
        if before:
            return None
        return Refuse(503) if method == "PUT" else Cut(1_000_000)

    net.plan = plan
    transfer.upload(client, file, tmp_path / "uploads", Moving())
    assert read(there.store, there.bucket) == file.read_bytes()
    result = {
        "url": there.store.presign_get(there.bucket, there.key, "clip.mp4", 600),
        "size": SIZE,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    out = transfer.download(result, tmp_path / "back.mp4", Moving(), lambda: "")
    assert out.read_bytes() == file.read_bytes()
    # the store put it together itself: nobody knows a digest
    out = transfer.download(result | {"sha256": None}, tmp_path / "joined.mp4", Moving(), lambda: "")
    assert out.read_bytes() == file.read_bytes()


def test_a_damaged_part_is_refused_by_the_store(
    uploads: tuple[Client, Uploads], file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that change on their way never become part of the source: the store compares the checksum we send."""
    client, there = uploads
    pieces, seen = transfer._pieces, []

    def flip(handle: int, offset: int, size: int) -> Iterator[bytes]:
        seen.append(offset)
        damaged = seen.count(parts.SMALLEST) == 2  # the first reading is for the checksum, the second is what is sent
        for piece in pieces(handle, offset, size):
            yield bytes([piece[0] ^ 1]) + piece[1:] if damaged and offset == parts.SMALLEST else piece

    monkeypatch.setattr(transfer, "_pieces", flip)
    transfer.upload(client, file, tmp_path / "uploads", Moving())
    assert seen.count(parts.SMALLEST) >= 3, "the damaged part was sent again"
    assert read(there.store, there.bucket) == file.read_bytes()
