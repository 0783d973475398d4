"""Uploads and downloads against a real small server that stands for the API and the store."""

from __future__ import annotations

import base64
import hashlib
import os
import random
import threading
from pathlib import Path
from typing import Any

import pytest

from cli import transfer
from cli.client import Client
from cli.failure import Failure, Unreachable, Usage
from tests.unit.cli.api import Answer, Api, Asked
from tests.unit.cli.conftest import ASSET, Seen

PART = 300_000


class Bucket:
    """The upload API and the store behind it, as the server's side of the contract says."""

    def __init__(self, api: Api, size: int) -> None:
        self.api, self.size = api, size
        self.parts: dict[int, bytes] = {}
        self.completed = 0
        self.valid = 1
        self.lock = threading.Lock()
        api.on("POST", "/function/upload", lambda asked: Answer(201, self.offer()))
        api.on("GET", f"/function/upload/{ASSET}", lambda asked: Answer(200, self.offer()))
        api.on("POST", f"/function/upload/{ASSET}/complete", self.complete)
        for number in range(1, -(-size // PART) + 1):
            api.on("PUT", f"/store/{number}", self.put)

    def offer(self) -> dict[str, Any]:
        parts = []
        for number, offset in enumerate(range(0, self.size, PART), 1):
            part = {"number": number, "offset": offset, "size": min(PART, self.size - offset)}
            url = f"{self.api.url}/store/{number}?valid={self.valid}"
            parts.append(part | ({"etag": "x"} if number in self.parts else {"url": url}))
        return {"asset": ASSET, "size": self.size, "part_size": PART, "parts": parts, "state": "uploading"}

    def put(self, asked: Asked) -> Answer:
        if asked.query["valid"] != [str(self.valid)]:
            return Answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        assert "Authorization" not in asked.headers, "the key is not the store's business"
        if base64.b64decode(asked.headers["Content-MD5"]) != hashlib.md5(asked.body).digest():
            return Answer(400, b"<Error><Code>BadDigest</Code></Error>")
        with self.lock:
            self.parts[int(asked.path.rpartition("/")[2])] = asked.body
        return Answer(200, b"", {"ETag": '"x"'})

    def complete(self, asked: Asked) -> Answer:
        self.completed += 1
        return Answer(200, {"asset": ASSET, "state": "ready"})

    @property
    def content(self) -> bytes:
        return b"".join(self.parts[number] for number in sorted(self.parts))


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between tries; their number stays."""
    monkeypatch.setattr(transfer, "_PAUSE_SECONDS", 0.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a clip.mp4"
    path.write_bytes(random.Random(1).randbytes(5 * PART + 77))
    return path


@pytest.fixture
def bucket(server: Api, file: Path) -> Bucket:
    return Bucket(server, file.stat().st_size)


def test_a_file_arrives_whole(client: Client, bucket: Bucket, file: Path, tmp_path: Path, bar: Seen) -> None:
    """Every part is sent once, straight to the store, and the upload is completed; nothing is remembered afterwards."""
    assert transfer.upload(client, file, tmp_path / "uploads", bar) == ASSET
    assert bucket.content == file.read_bytes()
    assert bucket.completed == 1
    assert bucket.api.calls("POST", "/function/upload")[0].json == {"name": "a clip.mp4", "size": 5 * PART + 77, "type": "video/mp4"}
    assert sum(it.method == "PUT" for it in bucket.api.asked) == 6
    assert bar.moves[-1] == 5 * PART + 77
    assert list((tmp_path / "uploads").iterdir()) == []


def test_an_empty_file_is_complete_without_parts(client: Client, server: Api, tmp_path: Path, bar: Seen) -> None:
    """Size 0 has nothing to send; whether it is media is the server's to say."""
    (tmp_path / "e.mp4").write_bytes(b"")
    bucket = Bucket(server, 0)
    transfer.upload(client, tmp_path / "e.mp4", tmp_path / "uploads", bar)
    assert bucket.completed == 1


@pytest.mark.parametrize("trouble", [Answer(500), Answer(503), Answer(200, b"", cut=True), Answer(400, b"BadDigest")])
def test_a_part_is_sent_again(client: Client, bucket: Bucket, file: Path, tmp_path: Path, bar: Seen, trouble: Answer) -> None:
    """Four failures of a part are outlived."""
    bucket.api.on("PUT", "/store/2", *[trouble] * 4, bucket.put)
    transfer.upload(client, file, tmp_path / "uploads", bar)
    assert bucket.content == file.read_bytes()


def test_addresses_that_expired_are_asked_for_anew(client: Client, bucket: Bucket, file: Path, tmp_path: Path, bar: Seen) -> None:
    """403 means a new address, not the end."""

    def expire(asked: Asked) -> Answer:
        bucket.valid = 2
        return Answer(403)

    bucket.api.on("PUT", "/store/1", expire, bucket.put)
    transfer.upload(client, file, tmp_path / "uploads", bar)
    assert bucket.content == file.read_bytes()


def test_an_interrupted_upload_goes_on_where_it_stopped(client: Client, bucket: Bucket, file: Path, tmp_path: Path, bar: Seen) -> None:
    """The second try of the same file sends only what the store does not have."""
    bucket.api.on("PUT", "/store/4", Answer(500))
    with pytest.raises(Unreachable, match="goes on where it stopped"):
        transfer.upload(client, file, tmp_path / "uploads", bar)
    there = set(bucket.parts)
    assert 4 not in there
    bucket.api.on("PUT", "/store/4", bucket.put)
    bucket.api.asked.clear()
    transfer.upload(client, file, tmp_path / "uploads", bar)
    assert bucket.content == file.read_bytes()
    sent = {int(it.path.rpartition("/")[2]) for it in bucket.api.asked if it.method == "PUT"}
    assert sent == set(range(1, 7)) - there
    assert bucket.api.calls("POST", "/function/upload") == []


def test_a_changed_file_begins_anew(client: Client, bucket: Bucket, file: Path, tmp_path: Path, bar: Seen) -> None:
    """Parts of an older version of the file are never joined with parts of a newer one."""
    bucket.api.on("PUT", "/store/4", Answer(500))
    with pytest.raises(Unreachable):
        transfer.upload(client, file, tmp_path / "uploads", bar)
    file.write_bytes(random.Random(2).randbytes(5 * PART + 77))
    bucket.parts.clear()
    bucket.api.on("PUT", "/store/4", bucket.put)
    bucket.api.asked.clear()
    transfer.upload(client, file, tmp_path / "uploads", bar)
    assert len(bucket.api.calls("POST", "/function/upload")) == 1
    assert bucket.content == file.read_bytes()


def test_an_upload_that_the_server_forgot_begins_anew(client: Client, bucket: Bucket, file: Path, tmp_path: Path, bar: Seen) -> None:
    """404 for the remembered asset is no failure."""
    bucket.api.on("PUT", "/store/4", Answer(500))
    with pytest.raises(Unreachable):
        transfer.upload(client, file, tmp_path / "uploads", bar)
    bucket.parts.clear()
    bucket.api.on("PUT", "/store/4", bucket.put)
    del bucket.api.replies["GET", f"/function/upload/{ASSET}"]
    transfer.upload(client, file, tmp_path / "uploads", bar)
    assert bucket.content == file.read_bytes()


def test_a_file_that_changes_under_way_is_refused(client: Client, bucket: Bucket, file: Path, tmp_path: Path, bar: Seen) -> None:
    """A source that is still being written is not completed."""

    def grow(asked: Asked) -> Answer:
        with file.open("ab") as more:
            more.write(b"more")
        return bucket.put(asked)

    bucket.api.on("PUT", "/store/3", grow)
    with pytest.raises(Failure, match="changed while it was uploaded"):
        transfer.upload(client, file, tmp_path / "uploads", bar)
    assert bucket.completed == 0


def test_a_file_that_is_not_there(client: Client, tmp_path: Path, bar: Seen) -> None:
    """A usage error that names it."""
    with pytest.raises(Usage, match=r"no\.mp4 cannot be read"):
        transfer.upload(client, tmp_path / "no.mp4", tmp_path / "uploads", bar)


# downloads


@pytest.fixture
def content() -> bytes:
    return random.Random(3).randbytes(700_001)


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several ranges for little data."""
    monkeypatch.setattr(transfer, "_RANGE", 200_000)
    monkeypatch.setattr(transfer, "_PIECE", 50_000)


def ranged(content: bytes, asked: Asked) -> Answer:
    start, end = map(int, asked.headers["Range"].removeprefix("bytes=").split("-"))
    return Answer(206, content[start : end + 1], {"Content-Range": f"bytes {start}-{end}/{len(content)}"})


def result(server: Api, content: bytes) -> dict[str, Any]:
    return {"url": f"{server.url}/film", "size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "name": "film.mp4"}


def test_a_result_comes_whole(server: Api, content: bytes, tmp_path: Path, bar: Seen) -> None:
    """In ranges, checked, in place of what was there, and with nothing beside it."""
    server.on("GET", "/film", lambda asked: ranged(content, asked))
    out = tmp_path / "film.mp4"
    out.write_bytes(b"old")
    assert transfer.download(result(server, content), out, bar, lambda: "") == out
    assert out.read_bytes() == content
    assert os.listdir(tmp_path) == ["film.mp4"]
    assert len(server.asked) == 4
    assert bar.moves[-1] == len(content)


def test_a_range_goes_on_where_it_broke(server: Api, content: bytes, tmp_path: Path, bar: Seen) -> None:
    """A cut connection costs the missing bytes, not the whole range, and no byte is counted twice."""

    def breaking(asked: Asked) -> Answer:
        whole = ranged(content, asked)
        if asked.headers["Range"].startswith(("bytes=0-", "bytes=400000-")):
            return Answer(206, whole.body[:120_000], whole.headers, cut=True)
        # The last range arrives whole, and breaks then: nothing is missing.
        return Answer(206, whole.body, whole.headers, cut=asked.headers["Range"].startswith("bytes=600000-"))

    server.on("GET", "/film", breaking)
    out = tmp_path / "film.mp4"
    transfer.download(result(server, content), out, bar, lambda: "")
    assert out.read_bytes() == content
    assert max(bar.moves) == len(content)
    starts = [it.headers["Range"].removeprefix("bytes=").split("-")[0] for it in server.asked]
    assert sorted(starts, key=int) == ["0", "120000", "200000", "400000", "520000", "600000"]


def test_a_damaged_result_is_not_kept(server: Api, content: bytes, tmp_path: Path, bar: Seen) -> None:
    """One wrong bit: no file, and what was there before stays."""
    wrong = bytearray(content)
    wrong[350_000] ^= 1
    server.on("GET", "/film", lambda asked: ranged(bytes(wrong), asked))
    out = tmp_path / "film.mp4"
    out.write_bytes(b"old")
    with pytest.raises(Failure, match="damaged"):
        transfer.download(result(server, content), out, bar, lambda: "")
    assert out.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["film.mp4"]


@pytest.mark.parametrize("answer", [Answer(200, b"all of it"), Answer(206, b"x", {"Content-Range": "bytes 0-0/1"}), Answer(404)])
def test_what_is_not_the_range_is_not_believed(server: Api, content: bytes, tmp_path: Path, bar: Seen, answer: Answer) -> None:
    """A store that answers something else is a failure, and leaves nothing."""
    server.on("GET", "/film", answer)
    with pytest.raises(Failure):
        transfer.download(result(server, content), tmp_path / "film.mp4", bar, lambda: "")
    assert os.listdir(tmp_path) == []


def test_an_expired_address_is_renewed_once_for_all(server: Api, content: bytes, tmp_path: Path, bar: Seen) -> None:
    """403 asks the job for a new address; four ranges that fail together ask once or a few times, not for ever."""
    server.on("GET", "/film", Answer(403))
    server.on("GET", "/new", lambda asked: ranged(content, asked))
    asked: list[str] = []

    def fresh() -> str:
        asked.append("x")
        return f"{server.url}/new"

    transfer.download(result(server, content), tmp_path / "film.mp4", bar, fresh)
    assert (tmp_path / "film.mp4").read_bytes() == content
    assert len(asked) == 1


def test_a_folder_that_cannot_be_written(server: Api, content: bytes, tmp_path: Path, bar: Seen) -> None:
    """A sentence, not a traceback."""
    with pytest.raises(Failure, match="cannot be written"):
        transfer.download(result(server, content), tmp_path / "no" / "film.mp4", bar, lambda: "")
