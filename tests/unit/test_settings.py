"""Where settings come from, and what is said when one is wrong."""

import pytest
from pydantic import ValidationError

from native import settings

NEEDED = {"DATABASE_URL": "postgresql://x", "REDIS_URL": "redis://x", "S3_ENDPOINT": "http://s3"}
SECRET = {"S3_ACCESS_KEY": "access", "S3_SECRET_KEY": "hush"}


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    """No setting of this machine, and a folder for the secrets."""
    for name in settings.Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"{name.upper()}_FILE", raising=False)
    monkeypatch.setattr(settings, "SECRETS", tmp_path)
    settings.load.cache_clear()
    yield
    settings.load.cache_clear()


def given(monkeypatch, **values):
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_the_variable_comes_before_the_file_and_the_file_before_the_secret(monkeypatch, tmp_path):
    """NAME, else what NAME_FILE names, else the secret of that name with dashes; none of them is None."""
    (tmp_path / "s3-access-key").write_text("secret\n")
    (tmp_path / "elsewhere").write_text("  file\n")
    found = [settings.value("S3_ACCESS_KEY")]
    given(monkeypatch, S3_ACCESS_KEY_FILE=str(tmp_path / "elsewhere"))
    found.append(settings.value("S3_ACCESS_KEY"))
    given(monkeypatch, S3_ACCESS_KEY="variable")
    found.append(settings.value("S3_ACCESS_KEY"))

    assert found == ["secret", "file", "variable"]
    assert settings.value("S3_SECRET_KEY") is None


def test_a_file_that_is_not_there_is_named(monkeypatch):
    """A NAME_FILE that cannot be read is an error that names both, not a silence."""
    given(monkeypatch, S3_SECRET_KEY_FILE="/nowhere/at-all")

    with pytest.raises(settings.Unset, match="S3_SECRET_KEY_FILE names /nowhere/at-all, which cannot be read"):
        settings.value("S3_SECRET_KEY")


def test_settings_are_read_once_and_frozen(monkeypatch):
    """The first reading stays: numbers are numbers, and what is not given is the default."""
    given(monkeypatch, **NEEDED, **SECRET, LEASE_SECONDS="4.5", MAX_INFLIGHT="9")
    read = settings.load()
    given(monkeypatch, LEASE_SECONDS="5")

    assert (settings.load().lease_seconds, read.max_queued_jobs, read.public_endpoint) == (4.5, 100, "http://s3")
    with pytest.raises(ValidationError, match="frozen"):
        read.lease_seconds = 1


def test_every_wrong_variable_is_named_and_no_secret(monkeypatch):
    """One error names every missing and every wrong variable, and does not show what the secret ones hold."""
    given(monkeypatch, **SECRET, DATABASE_URL="postgresql://nve:hush@x", LEASE_SECONDS="long")

    with pytest.raises(settings.Unset) as caught:
        settings.load()

    text = str(caught.value)
    assert all(name in text for name in ("REDIS_URL: ", "S3_ENDPOINT: ", "LEASE_SECONDS: "))
    assert "DATABASE_URL" not in text
    assert "hush" not in text


def test_secrets_do_not_show(monkeypatch):
    """Printing the settings shows no secret."""
    given(monkeypatch, **{**NEEDED, "DATABASE_URL": "postgresql://nve:hush@x"}, **SECRET)

    assert "hush" not in repr(settings.load())
    assert settings.load().s3_secret_key.get_secret_value() == "hush"
