"""The gateway's settings come from where all others come from, by the same reader."""

import pytest

from gateway import settings as ours
from native import settings


@pytest.fixture(autouse=True)
def given(monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")


def test_a_setting_is_a_variable_or_a_file(monkeypatch, tmp_path):
    """A value stands in the variable, or in the file that NAME_FILE names; the rest have their defaults."""
    (tmp_path / "password").write_text("open sesame\n")
    monkeypatch.setenv("GATEWAY_PORT", "8181")
    monkeypatch.setenv("GATEWAY_PASSWORD_FILE", str(tmp_path / "password"))
    monkeypatch.delenv("GATEWAY_PASSWORD", raising=False)
    monkeypatch.delenv("QUEUE_PREFIX", raising=False)
    chosen = ours.load()

    assert chosen.gateway_password
    assert [chosen.gateway_port, chosen.gateway_password.get_secret_value(), chosen.queue_prefix] == [8181, "open sesame", "nve"]


def test_every_wrong_variable_is_named(monkeypatch):
    """One sentence says whose settings they are and names each variable that is wrong, not its value."""
    monkeypatch.setenv("GATEWAY_PORT", "99999")
    monkeypatch.delenv("REDIS_URL")
    with pytest.raises(settings.Unset, match=r"^gateway settings: GATEWAY_PORT: .*; REDIS_URL: Field required$") as refused:
        ours.load()

    assert "99999" not in str(refused.value)


def test_there_is_one_reader(monkeypatch):
    """The gateway and the functions read their settings by the same code."""
    read = []
    monkeypatch.setattr(settings, "read", lambda model, title="settings": read.append((model, title)))
    ours.load()
    settings.load.__wrapped__()

    assert read == [(ours.Settings, "gateway settings"), (settings.Settings, "settings")]
