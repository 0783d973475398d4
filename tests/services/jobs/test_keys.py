"""Keys: shown once, known by their hash, ended by a word."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from native import errors
from native.jobs.database import Database
from native.jobs.keys import Keys, new_token


@pytest.fixture
def keys(database: Database) -> Keys:
    return Keys(database)


def test_key_names_its_owner(keys: Keys) -> None:
    """A token is nve_ and 43 characters, names its owner, and nothing that resembles it does."""
    token = keys.create("ann", "laptop")
    assert token.startswith("nve_")
    assert len(token) == 47
    assert keys.owner_of(token) == "ann"
    for wrong in ("", "nve_", token[:-1], token + "x", token.lower(), token.swapcase(), "nve_\x00", "nve_\ud800", "é" * 10_000):
        assert keys.owner_of(wrong) is None


def test_token_is_nowhere(keys: Keys, execute: Callable[..., list[tuple[object, ...]]]) -> None:
    """The database has the token's hash and no part of the token."""
    token = keys.create("ann", "laptop")
    row = str(execute("SELECT keys::text FROM keys"))
    assert token[4:14] not in row
    assert token.encode()[4:14].hex() not in row


def test_revoked_opens_nothing(keys: Keys) -> None:
    """A revoked key opens nothing any more, by name or by id, twice or once; its name is free again; others' keys are not touched."""
    first, second, other = keys.create("ann", "laptop"), keys.create("ann", "phone"), keys.create("bob", "laptop")
    keys.revoke("ann", "laptop")
    phone = next(key for key in keys.list("ann") if key.name == "phone")
    ended = [keys.revoke("ann", phone.id).revoked_at for _ in range(2)]
    assert ended[0] == ended[1] is not None
    assert [keys.owner_of(token) for token in (first, second, other)] == [None, None, "bob"]
    assert keys.owner_of(keys.create("ann", "laptop")) == "ann"
    for owner, key in (("bob", "phone"), ("bob", phone.id), ("ann", "tablet"), ("ann", "")):
        with pytest.raises(errors.Problem) as refusal:
            keys.revoke(owner, key)
        assert refusal.value.kind is errors.NOT_FOUND


def test_name_is_taken_once(keys: Keys) -> None:
    """A second living key of one name is refused: a name must find one key."""
    keys.create("ann", "laptop")
    with pytest.raises(errors.Problem) as refusal:
        keys.create("ann", "laptop")
    assert (refusal.value.kind, refusal.value.field) == (errors.CONFLICT, "name")
    assert len(keys.list("ann")) == 1
    assert len(keys.list()) == 1


def test_given_token_is_installed_once(keys: Keys) -> None:
    """A set-up that installs the token it has kept may run again, and makes one key."""
    token = new_token()
    assert [keys.create("local", "first", token=token) for _ in range(2)] == [token, token]
    assert len(keys.list("local")) == 1
    assert keys.owner_of(token) == "local"


def test_use_is_noted_coarsely(keys: Keys, execute: Callable[..., object]) -> None:
    """The first use is noted, the next ones within the hour cost no write, and one after an hour is noted again."""
    token = keys.create("ann", "laptop")
    assert keys.list("ann")[0].last_used_at is None
    keys.owner_of(token)
    first = keys.list("ann")[0].last_used_at
    keys.owner_of(token)
    assert first
    assert keys.list("ann")[0].last_used_at == first
    execute("UPDATE keys SET last_used_at = now() - interval '61 minutes'")
    keys.owner_of(token)
    again = keys.list("ann")[0].last_used_at
    assert again
    assert again > first
