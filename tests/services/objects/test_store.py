"""The store's verbs against a real S3 server."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from native import errors
from native.objects import keys, parts
from native.objects.store import Store, StoredPart
from native.settings import Settings
from tests.services.objects.conftest import sha256

MIB = 1 << 20
Make = Callable[[int], Path]


@pytest.mark.parametrize("size", [0, 1, parts.SMALLEST - 1, parts.SMALLEST, 2 * parts.SMALLEST + 12345])
def test_a_file_comes_back_as_it_went_in(store: Store, bucket: str, key: str, make: Make, size: int) -> None:
    """put_file reports the file's size and SHA-256, and the reader gives the same bytes, at sizes around every border."""
    path, heard = make(size), []
    put = store.put_file(bucket, key, path, "video/mp4", on_progress=heard.append)
    assert (put.size, put.sha256) == (size, sha256(path))
    assert heard == sorted(heard)
    assert heard[-1] == size
    reader = store.reader(bucket, key, size)
    assert reader.read(0, size) == path.read_bytes()
    assert reader.bytes_read == size
    assert store.stat(bucket, key).size == size


def test_a_result_is_never_overwritten(store: Store, bucket: str, key: str, make: Make) -> None:
    """A second put under the same key, small or multipart, is a CONFLICT and leaves the first object and no parts behind."""
    store.put_file(bucket, key, make(10), "video/mp4")
    for size in (11, parts.SMALLEST + 1):
        with pytest.raises(errors.Problem) as refused:
            store.put_file(bucket, key, make(size), "video/mp4")
        assert refused.value.kind is errors.CONFLICT
    assert store.stat(bucket, key).size == 10
    assert list(store.uploads(bucket, key)) == []


def test_a_range_costs_its_bytes_and_no_more(store: Store, bucket: str, key: str, make: Make) -> None:
    """read() returns exactly the range, fewer bytes only at the end, none beyond it, and counts what travelled."""
    data = make(3 * MIB).read_bytes()
    store.put_bytes(bucket, key, data)
    reader = store.reader(bucket, key, len(data))
    assert reader.read(1_000_001, 70_000) == data[1_000_001:1_070_001]
    assert reader.bytes_read == 70_000
    assert reader.read(len(data) - 10, 100) == data[-10:]
    assert reader.read(len(data), 100) == b""
    assert reader.read(5, 0) == b""
    assert reader.bytes_read == 70_010
    with pytest.raises(ValueError, match="cannot read"):
        reader.read(-1, 5)


def test_many_threads_may_read_at_once(store: Store, bucket: str, key: str, make: Make) -> None:
    """Eight threads reading other ranges each get their own bytes, and the count is the sum."""
    data = make(4 * MIB).read_bytes()
    store.put_bytes(bucket, key, data)
    reader = store.reader(bucket, key, len(data))
    wrong: list[int] = []

    def read(worker: int) -> None:
        for i in range(8):
            at = (worker * 8 + i) * 65_536
            if reader.read(at, 65_536) != data[at : at + 65_536]:
                wrong.append(at)

    threads = [threading.Thread(target=read, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert reader.bytes_read == len(data)


def test_an_object_that_changed_is_an_error(store: Store, bucket: str, key: str) -> None:
    """After the first read the reader holds on to that object: another one under the same key is refused, never mixed in."""
    store.put_bytes(bucket, key, b"a" * 1000)
    reader = store.reader(bucket, key, 1000)
    assert reader.read(0, 10) == b"a" * 10
    store.put_bytes(bucket, key, b"b" * 1000)
    with pytest.raises(errors.Problem) as refused:
        reader.read(10, 10)
    assert refused.value.kind is errors.CONFLICT


@pytest.mark.parametrize("size", [999, 1001])
def test_an_object_of_another_size_is_an_error(store: Store, bucket: str, key: str, size: int) -> None:
    """A reader that was promised another size refuses at the first read."""
    store.put_bytes(bucket, key, b"a" * 1000)
    with pytest.raises(errors.Problem) as refused:
        store.reader(bucket, key, size).read(0, 10)
    assert refused.value.kind is errors.CONFLICT


def test_what_is_not_there_is_not_found(store: Store, bucket: str, key: str) -> None:
    """stat and read say NOT_FOUND in words that name neither key nor address; delete and abort do not mind."""
    for act in (lambda: store.stat(bucket, key), lambda: store.reader(bucket, key, 5).read(0, 5)):
        with pytest.raises(errors.Problem) as refused:
            act()
        assert refused.value.kind is errors.NOT_FOUND
        assert key not in str(refused.value.document())
    store.delete(bucket, key)
    store.abort(bucket, key, "0123456789abcdef0123456789abcdef")


def test_a_missing_bucket_is_the_systems_fault(store: Store, key: str) -> None:
    """Without its bucket the store is not set up: STORAGE_UNAVAILABLE, not NOT_FOUND, and the name stays inside."""
    with pytest.raises(errors.Problem) as refused:
        store.reader("no-such-bucket", key, 5).read(0, 5)
    assert refused.value.kind is errors.STORAGE_UNAVAILABLE
    assert "no-such-bucket" not in str(refused.value.document())


def test_a_wrong_secret_is_the_systems_fault(settings: Settings, bucket: str, key: str, caplog: pytest.LogCaptureFixture) -> None:
    """A refused signature is STORAGE_UNAVAILABLE at once (no retries), logged as an error without the secret."""
    wrong = Store(settings.model_copy(update={"s3_secret_key": type(settings.s3_secret_key)("wrong-secret")}))
    with pytest.raises(errors.Problem) as refused:
        wrong.stat(bucket, key)
    assert refused.value.kind is errors.STORAGE_UNAVAILABLE
    assert [record.levelname for record in caplog.records if record.name == "objects"] == ["ERROR"]
    assert "wrong-secret" not in caplog.text


def test_lists_and_deletes_a_jobs_folder(store: Store, bucket: str, key: str) -> None:
    """list gives the objects in order; delete_prefix removes one job's and leaves its neighbour's."""
    job = keys.parse(key).job  # type: ignore[union-attr]
    mine = [keys.output(job, attempt, "result.mp4") for attempt in range(1, 6)]
    other = keys.output(job + "x", 1, "result.mp4")
    for each in [*mine, other]:
        store.put_bytes(bucket, each, b"x")
    assert [stored.key for stored in store.list(bucket, keys.attempts(job))] == mine
    assert store.delete_prefix(bucket, keys.attempts(job)) == 5
    assert list(store.list(bucket, keys.attempts(job))) == []
    assert store.stat(bucket, other).size == 1
    for refused in ("", "/", "out"):
        with pytest.raises(ValueError, match="not a folder"):
            store.delete_prefix(bucket, refused)


def test_a_client_uploads_by_urls_alone(store: Store, bucket: str, key: str, make: Make) -> None:
    """Parts PUT to presigned URLs by a client without keys are listed, joined once, and are the file."""
    data = make(2 * parts.SMALLEST + 5).read_bytes()
    upload = store.create(bucket, key, "video/mp4")
    layout = parts.layout(len(data))
    urls = store.part_urls(bucket, key, upload, [part.number for part in layout], 60)
    for part, url in zip(layout, urls, strict=True):
        assert httpx.put(url, content=data[part.offset : part.offset + part.size]).status_code == 200
    listed = store.list_parts(bucket, key, upload)
    assert [(part.number, part.size) for part in listed] == [(part.number, part.size) for part in layout]
    assert [each.upload_id for each in store.uploads(bucket, key)] == [upload]
    first = store.complete(bucket, key, upload, listed)
    assert first.size == len(data)
    assert store.complete(bucket, key, upload, listed) == first
    assert store.reader(bucket, key, len(data)).read(0, len(data)) == data
    with pytest.raises(errors.Problem) as refused:
        store.list_parts(bucket, key, upload)
    assert refused.value.kind is errors.NOT_FOUND
    assert httpx.put(urls[0], content=b"later").status_code >= 400


def test_parts_that_are_not_there_do_not_make_an_object(store: Store, bucket: str, key: str) -> None:
    """Joining a part that never arrived is a CONFLICT and no object appears; abort removes the upload."""
    upload = store.create(bucket, key, "video/mp4")
    with pytest.raises(errors.Problem) as refused:
        store.complete(bucket, key, upload, [StoredPart(1, 5, '"0123456789abcdef0123456789abcdef"')])
    assert refused.value.kind in {errors.CONFLICT, errors.NOT_FOUND}
    store.abort(bucket, key, upload)
    assert list(store.uploads(bucket, key)) == []
    with pytest.raises(errors.Problem):
        store.stat(bucket, key)


def test_more_parts_than_a_page_are_all_listed(store: Store, bucket: str, key: str) -> None:
    """list_parts follows the pages: 1 003 parts are 1 003, though a page holds 1 000."""
    upload = store.create(bucket, key, "video/mp4")
    with httpx.Client() as client:
        for url in store.part_urls(bucket, key, upload, range(1, 1004), 60):
            assert client.put(url, content=b"x").status_code == 200
    try:
        assert [part.number for part in store.list_parts(bucket, key, upload)] == list(range(1, 1004))
    finally:
        store.abort(bucket, key, upload)


def test_a_download_url_opens_one_object_for_a_while(settings: Settings, store: Store, bucket: str, key: str) -> None:
    """The URL carries the public address, saves under the given name, and does not open anything else."""
    store.put_bytes(bucket, key, b"content", "video/mp4")
    answer = httpx.get(store.presign_get(bucket, key, 'Käse "1".mp4', 60))
    assert answer.content == b"content"
    assert answer.headers["content-disposition"] == "attachment; filename=\"K_se _1_.mp4\"; filename*=UTF-8''K%C3%A4se%20%221%22.mp4"
    assert httpx.get(store.presign_get(bucket, key, "a", 60).replace("result.mp4", "other.mp4")).status_code in {400, 403}
    assert httpx.get(f"{settings.s3_endpoint}/{bucket}/{key}").status_code == 403
    public = Store(settings.model_copy(update={"s3_public_endpoint": "https://media.example.org"}))
    assert public.presign_get(bucket, key, "a.mp4", 60).startswith(f"https://media.example.org/{bucket}/{key}?")
    assert public.part_urls(bucket, key, "u", [1], 60)[0].startswith("https://media.example.org/")
    assert public.stat(bucket, key).size == 7


def test_cancel_stops_an_upload_and_leaves_nothing(store: Store, bucket: str, key: str, make: Make) -> None:
    """cancelled() is asked between parts: CANCELLED, no object, no multipart upload."""
    sent: list[int] = []
    with pytest.raises(errors.Problem) as refused:
        store.put_file(bucket, key, make(4 * parts.SMALLEST), "video/mp4", cancelled=lambda: bool(sent), on_progress=sent.append)
    assert refused.value.kind is errors.CANCELLED
    assert list(store.uploads(bucket, key)) == []
    with pytest.raises(errors.Problem):
        store.stat(bucket, key)


def test_importing_the_store_does_not_import_boto3() -> None:
    """A function that never touches the store does not pay for boto3: it is imported by the first call."""
    code = "import sys, native.objects.store; sys.exit('botocore' in sys.modules)"
    root = Path(__file__).resolve().parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, check=False).returncode == 0
