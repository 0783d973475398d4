"""The index of a source is kept beside it, used while it is of that source, and never missed."""

import time

import httpx
import pytest

from functions.trim.handler import Trim
from native import assets, errors, flow, kept, reaping
from native.clips import plan
from native.objects import keys, sidecar
from native.objects.reader import Reader
from native.operation import Operation
from native.service import Services
from tests import clips

TRIM = Operation(name="trim", request=Trim, plan=plan)


@pytest.fixture(scope="module")
def body(tmp_path_factory) -> bytes:
    """A transport stream, of which only its packets say where they are."""
    return clips.make(clips.H264["transport"], tmp_path_factory.mktemp("kept")).read_bytes()


@pytest.fixture
def readers(monkeypatch) -> list[Reader]:
    """Every reader that was opened, so that what they read can be counted."""
    found: list[Reader] = []
    begin = Reader.__init__

    def opened(self, *arguments, **more):
        begin(self, *arguments, **more)
        found.append(self)

    monkeypatch.setattr(Reader, "__init__", opened)
    return found


@pytest.fixture
def services(settings, monkeypatch):
    monkeypatch.setattr(kept, "WORTH_BYTES", 0)
    return Services(settings)


def upload(services, body):
    asset = assets.create(services, "me", "a.ts", len(body), "video/mp2t")
    for part in assets.offer(services, asset)["parts"]:
        httpx.put(part["url"], content=body).raise_for_status()
    return assets.complete(services, "me", asset.id)


def stored(services, asset) -> bytes | None:
    """What is kept of an asset, once it is there; None when nothing comes."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            size = services.objects.stat(asset.bucket, keys.index(asset.key)).size
        except errors.Problem:
            time.sleep(0.02)
            continue
        return services.objects.reader(asset.bucket, keys.index(asset.key), size).read(0, size)
    return None


def trim(services, asset) -> dict:
    """The result of a cut."""
    job, _ = services.jobs.accept("me", "trim", {"source": asset.id, "start": "2", "end": "3"})
    flow.work(TRIM, services, job.id)
    done = services.jobs.get("me", job.id)
    assert done.state == "succeeded", done.problem
    return done.result


def test_the_second_look_reads_the_index_only(services, body, readers):
    """A look inside keeps the index; the next one reads it, all of it and nothing else, and sees the same."""
    asset = upload(services, body)
    readers.clear()
    first = assets.inspect(services, asset)
    assert readers[0].bytes_read >= len(body)
    index = stored(services, asset)

    readers.clear()
    assert assets.inspect(services, asset)["keyframes"] == first["keyframes"]
    assert [reader.bytes_read for reader in readers] == [len(index)]
    assert len(index) < 10_000


def test_a_cut_keeps_the_index_and_the_next_one_uses_it(services, body):
    """The same cut twice: the same frames, and the second reads less than the source; what it read of the index is counted."""
    asset = upload(services, body)
    first = trim(services, asset)
    index = stored(services, asset)
    second = trim(services, asset)

    assert first["source_bytes_read"] >= len(body)
    assert len(index) < second["source_bytes_read"] < first["source_bytes_read"]
    assert {n: second[n] for n in ("frames", "copied_frames", "encoded_frames")} == {
        n: first[n] for n in ("frames", "copied_frames", "encoded_frames")
    }


def test_an_index_of_what_was_there_before_is_not_used(services, body, readers):
    """The object is replaced by another of the same size: the index is made anew, and the new one is kept."""
    asset = upload(services, body)
    before = assets.inspect(services, asset)
    old = stored(services, asset)
    # the clip without its first second, and as many padding packets: other key frames at the same size
    other = body[: 188 * 3] + body[len(body) // 3 // 188 * 188 :]
    other += (b"\x47\x1f\xff\x10" + bytes([255]) * 184) * ((len(body) - len(other)) // 188)
    assert len(other) == len(body)
    services.objects.put_bytes(asset.bucket, asset.key, other)

    readers.clear()
    after = assets.inspect(services, asset)
    assert readers[0].bytes_read >= len(body)
    assert after["keyframes"] != before["keyframes"]
    deadline = time.monotonic() + 30
    while stored(services, asset) == old and time.monotonic() < deadline:
        time.sleep(0.02)
    readers.clear()
    assert assets.inspect(services, asset)["keyframes"] == after["keyframes"]
    assert readers[0].bytes_read < 10_000


@pytest.mark.parametrize("bad", [b"", b"nve sidecar 1\n", b"\0" * 1000, "flipped", "lying"])
def test_a_broken_index_is_ignored_and_replaced(services, body, bad):
    """Whatever lies where the index should: the cut is the same, and a sound index is there afterwards."""
    asset = upload(services, body)
    assets.inspect(services, asset)
    good = stored(services, asset)
    if bad == "flipped":
        bad = good[:-1] + bytes([good[-1] ^ 1])
    elif bad == "lying":
        etag = services.objects.stat(asset.bucket, asset.key).etag
        bad = sidecar.pack(b"nve index\n" + bytes(100), etag, asset.size)
    services.objects.put_bytes(asset.bucket, keys.index(asset.key), bad)
    assert trim(services, asset)["frames"] == 30
    deadline = time.monotonic() + 30
    while stored(services, asset) != good and time.monotonic() < deadline:
        time.sleep(0.02)
    assert stored(services, asset) == good


def test_a_store_that_keeps_no_index_fails_no_job(services, body, monkeypatch):
    """The index can be neither read nor written: the cut is made all the same."""
    asset = upload(services, body)
    asked = []

    def away(key):
        asked.append(key)
        raise errors.STORAGE_UNAVAILABLE()

    monkeypatch.setattr(keys, "index", away)
    assert trim(services, asset)["frames"] == 30
    deadline = time.monotonic() + 30
    while len(asked) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert asked == [asset.key, asset.key]


def test_only_a_file_of_its_own_says_what_it_is(services, body, monkeypatch):
    """Of a session with two sources nothing is kept: one of them might have lied about the other."""
    from native.media import session

    one, two = upload(services, body), upload(services, body)
    sources = [services.objects.reader(it.bucket, it.key, it.size) for it in (one, two)]
    monkeypatch.setattr(session.Session, "index", lambda *_: pytest.fail("an index was asked for"))
    with session.open(sources, services.settings.workspace_dir, flow.limits(services, [one, two])) as media:
        media.probe()
        kept.keep(media, sources)


def test_the_index_goes_with_its_source(services, body, monkeypatch):
    """Deleting an asset deletes its index; one that was left is swept, and one whose source lives stays."""
    monkeypatch.setattr(reaping, "_store_swept", 0.0)
    monkeypatch.setattr(reaping, "ORPHAN_SECONDS", -60)
    gone, left, living = upload(services, body), upload(services, body[:-188]), upload(services, body)
    for asset in (gone, left, living):
        assets.inspect(services, asset)
        assert stored(services, asset)
    assets.delete(services, "me", gone.id)
    there = {it.key for it in services.objects.list(living.bucket, "")}
    assert there == {it for asset in (left, living) for it in (asset.key, keys.index(asset.key))}

    services.assets.delete("me", left.id)  # the row went, the store was away
    services.objects.put_bytes(living.bucket, "index/what/is/this", b"?")
    reaping.sweep(services)
    assert {it.key for it in services.objects.list(living.bucket, "")} == {living.key, keys.index(living.key)}


def test_small_sources_are_not_worth_it(settings, body, readers, monkeypatch):
    """Of a source smaller than the bound nothing is asked and nothing kept."""
    services = Services(settings)
    monkeypatch.setattr(Reader, "kept_index", lambda _: pytest.fail("it was asked for"))
    monkeypatch.setattr(Reader, "keep_index", lambda *_: pytest.fail("it was kept"))
    assert len(body) < kept.WORTH_BYTES
    assets.inspect(services, upload(services, body))


def test_bytes_are_bound_to_their_object():
    """What is kept is given out for the same size and ETag only, and only whole."""
    packed = sidecar.pack(b"what is kept", '"etag-2"', 1 << 40)
    assert sidecar.unpack(packed, '"etag-2"', 1 << 40) == b"what is kept"
    assert sidecar.unpack(packed, '"etag-1"', 1 << 40) is None
    assert sidecar.unpack(packed, '"etag-2"', 1) is None
    assert all(sidecar.unpack(packed[:n], '"etag-2"', 1 << 40) is None for n in range(len(packed)))
    assert sidecar.unpack(packed + b"x", '"etag-2"', 1 << 40) is None
