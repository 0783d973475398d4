from __future__ import annotations

import hashlib
import random
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from native.objects import keys
from native.objects.store import Store
from native.settings import Settings
from tests.services.objects.toxic import Network, network


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    store = Store(settings)
    yield store
    store.close()


@pytest.fixture
def net(settings: Settings) -> Iterator[Network]:
    """A network that can be told to misbehave, before the real store."""
    with network(settings.s3_endpoint) as net:
        yield net


@pytest.fixture
def far(settings: Settings, net: Network) -> Iterator[Store]:
    """The same store, seen through that network."""
    store = Store(settings.model_copy(update={"s3_endpoint": net.url, "s3_public_endpoint": None}))
    yield store
    store.close()


@pytest.fixture
def bucket(settings: Settings) -> str:
    return settings.s3_outputs_bucket


@pytest.fixture
def key() -> str:
    """A key that no other test uses."""
    return keys.output(uuid.uuid4().hex, 1, "result.mp4")


@pytest.fixture
def make(tmp_path: Path) -> Callable[[int], Path]:
    """Makes a file of so many bytes that do not repeat."""

    def make(size: int) -> Path:
        path = tmp_path / f"{size}.bin"
        path.write_bytes(random.Random(size).randbytes(size))
        return path

    return make


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
