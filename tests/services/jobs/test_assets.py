"""Assets: an owner's own, from the first part to the end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from native import errors
from native.jobs.assets import Asset, Assets, State, new_id
from native.jobs.database import Database
from native.jobs.store import Store
from tests.services.jobs.conftest import result_of


@pytest.fixture
def assets(database: Database) -> Assets:
    return Assets(database)


def begun(assets: Assets, owner: str = "ann", **changes: object) -> Asset:
    id_ = new_id()
    given = {
        "id": id_,
        "name": "holiday 🏖.mp4",
        "bucket": "media",
        "key": f"src/{id_}",
        "size": 10,
        "type": "video/mp4",
        "upload_id": "u",
        "part_size": 5,
    }
    return assets.create(owner, **given | changes)  # type: ignore[arg-type]


def test_upload_becomes_ready(assets: Assets) -> None:
    """An upload is ready after complete, with what was found; completing again changes nothing."""
    begin = begun(assets)
    assert (begin.state, begin.upload_id, begin.part_size, begin.media) == (State.UPLOADING, "u", 5, None)
    done = assets.complete("ann", begin.id, size=11, media={"duration": "1/3"})
    assert (done.state, done.size, done.media, done.problem, done.upload_id) == (State.READY, 11, {"duration": "1/3"}, None, None)
    assert assets.complete("ann", begin.id, size=99, problem={"code": "x"}) == done
    assert assets.get("ann", begin.id) == done
    assert done.name == "holiday 🏖.mp4"


def test_problem_is_kept(assets: Assets) -> None:
    """An upload that cannot be a source is ready all the same, and says why."""
    done = assets.complete("ann", begun(assets).id, problem={"code": "source_empty", "message": "The source file is empty"})
    assert (done.state, done.media, (done.problem or {})["code"]) == (State.READY, None, "source_empty")


def test_create_may_be_repeated(assets: Assets) -> None:
    """The same id again is the same asset; an object that is another's is refused."""
    begin = begun(assets)
    assert begun(assets, id=begin.id, key=begin.key) == begin
    with pytest.raises(errors.Problem) as refusal:
        begun(assets, key=begin.key)
    assert refusal.value.kind is errors.CONFLICT


def test_others_see_nothing(assets: Assets) -> None:
    """To another owner an asset does not exist: no get, no complete, no delete, no list."""
    begin = begun(assets)
    for call in (assets.get, assets.complete, assets.delete):
        for owner, id_ in (("bob", begin.id), ("ann", new_id()), ("ann", "../../etc"), ("ann", "")):
            with pytest.raises(errors.Problem) as refusal:
                call(owner, id_)
            assert refusal.value.kind is errors.NOT_FOUND
    assert assets.list("bob") == ([], None)
    assert assets.get("ann", begin.id) == begin


def test_deleted_is_gone_but_can_be_deleted_again(assets: Assets) -> None:
    """A deleted asset is found no more; deleting it again still names its object, so that a lost answer leaves no garbage."""
    begin = begun(assets)
    gone = [assets.delete("ann", begin.id) for _ in range(2)]
    assert [(it.bucket, it.key, it.upload_id, it.state) for it in gone] == [("media", begin.key, "u", State.DELETED)] * 2
    for call in (assets.get, assets.complete):
        with pytest.raises(errors.Problem) as refusal:
            call("ann", begin.id)
        assert refusal.value.kind is errors.NOT_FOUND


def test_orphans_are_what_nobody_has(assets: Assets, store: Store) -> None:
    """Of a listing, exactly the keys of unrecorded attempts and deleted assets are orphans."""
    attempt = store.claim(store.accept("ann", "trim", {})[0].id, 30)
    assert attempt
    result = result_of(attempt)
    assert store.succeed(attempt, result, {"asset": result.id})
    source, gone = begun(assets), begun(assets)
    assets.delete("ann", gone.id)
    stale = result.key.replace("/1/", "/7/")
    assert assets.orphans("outputs", [result.key, stale]) == [stale]
    assert assets.orphans("media", [source.key, gone.key, "src/?"]) == [gone.key, "src/?"]
    assert assets.orphans("media", [result.key]) == [result.key], "a bucket's keys are its own"
    assert assets.orphans("media", []) == []


def test_abandoned_uploads(assets: Assets, execute: Callable[..., object]) -> None:
    """Uploads that began a day ago and were never completed are abandoned, of all owners; nothing else is."""
    old, other, ready, young = begun(assets), begun(assets, "bob"), begun(assets), begun(assets)
    assets.complete("ann", ready.id)
    execute("UPDATE assets SET created_at = now() - interval '25 hours' WHERE id <> %s", young.id)
    assert {asset.id for asset in assets.abandoned()} == {old.id, other.id}
    assert len(assets.abandoned(limit=1)) == 1


def test_text_that_cannot_be_stored_is_refused(assets: Assets) -> None:
    """A name with NUL and a size beyond 64 bits are the request's fault."""
    for changes in ({"name": "a\x00b"}, {"name": "\udfff"}, {"size": 2**70}):
        with pytest.raises(errors.Problem) as refusal:
            begun(assets, **changes)
        assert refusal.value.kind is errors.INVALID_REQUEST
