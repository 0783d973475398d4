"""What nobody needs any more goes; what somebody may need stays."""

import httpx
import pytest

from native import assets, errors, flow, reaping
from native.objects import keys
from native.service import Services

JOB = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def services(settings, monkeypatch):
    """A process that has never swept, in a world where everything is old."""
    monkeypatch.setattr(reaping, "_store_swept", 0.0)
    monkeypatch.setattr(reaping, "ORPHAN_SECONDS", -60)
    return Services(settings)


def upload(services, body=b"hello"):
    asset = assets.create(services, "me", "a.txt", len(body), "text/plain")
    for part in assets.offer(services, asset)["parts"]:
        httpx.put(part["url"], content=body).raise_for_status()
    return asset


def there(services):
    settings = services.settings
    return {it.key for bucket in (settings.s3_media_bucket, settings.s3_outputs_bucket) for it in services.objects.list(bucket, "")}


def test_an_object_that_no_job_names_is_removed(services):
    """A result that its attempt never recorded goes; the source of a living asset stays."""
    kept = assets.complete(services, "me", upload(services).id)
    services.objects.put_bytes(services.settings.s3_outputs_bucket, keys.output(JOB, 1, "result.mp4"), b"stale")
    counts = reaping.sweep(services)

    assert there(services) == {kept.key}
    assert counts["orphans"] == 1


def test_a_young_object_is_left_alone(services, monkeypatch):
    """A result that was stored a moment ago may be recorded in the next: it stays."""
    monkeypatch.setattr(reaping, "ORPHAN_SECONDS", 3600)
    services.objects.put_bytes(services.settings.s3_outputs_bucket, keys.output(JOB, 1, "result.mp4"), b"new")
    reaping.sweep(services)

    assert len(there(services)) == 1


def test_an_asset_deleted_while_the_store_was_away_loses_its_object(services):
    """The row went, the object could not: the sweep removes it."""
    asset = assets.complete(services, "me", upload(services).id)
    services.assets.delete("me", asset.id)
    reaping.sweep(services)

    assert there(services) == set()


def test_an_upload_that_nobody_finishes_is_aborted(services, monkeypatch):
    """After a day an unfinished upload and its parts are gone, and so is one that no asset knows of."""
    monkeypatch.setattr(reaping, "ABANDONED_UPLOAD_SECONDS", -60)
    asset = upload(services)
    services.objects.create(services.settings.s3_media_bucket, keys.source(JOB), "video/mp4")
    reaping.sweep(services)

    assert list(services.objects.uploads(services.settings.s3_media_bucket, "")) == []
    with pytest.raises(errors.Problem, match="no such asset"):
        services.assets.get("me", asset.id)


def test_the_folder_of_a_killed_worker_is_removed(services):
    """A workspace that no process holds goes when it is old; one that is held stays, and so does a young one."""
    parent = services.settings.workspace_dir
    job = type("J", (), {"id": "left"})
    (parent / "left-over").mkdir(parents=True)
    with flow.workspace(parent, type("A", (), {"job": job, "number": 1})) as held:
        assert flow.clear(parent) == 0
        assert flow.clear(parent, older_than_seconds=-1) == 1
        assert list(parent.iterdir()) == [held]
