"""The environment, read once into a frozen value. Every limit has its unit in its name and its default here.

A setting `NAME` is taken from the variable `NAME`, else from the file that `NAME_FILE` names, else from the OpenFaaS secret
`/var/openfaas/secrets/<name with dashes>`, else from its default.
"""

from __future__ import annotations

import functools
import os
import tempfile
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

SECRETS = Path("/var/openfaas/secrets")

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

M = TypeVar("M", bound=BaseModel)


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True)

    # where things are
    database_url: SecretStr = Field(description="Postgres, e.g. postgresql://nve:…@127.0.0.1:5432/nve")
    redis_url: SecretStr = Field(description="Redis or Valkey, e.g. redis://:…@127.0.0.1:6379/0")
    s3_endpoint: str = Field(description="where the functions reach the store")
    s3_public_endpoint: str | None = Field(default=None, description="where clients reach the store; the default is s3_endpoint")
    s3_access_key: SecretStr
    s3_secret_key: SecretStr
    s3_region: str = "us-east-1"
    s3_media_bucket: str = "media"
    s3_outputs_bucket: str = "outputs"
    gateway_url: str = Field(default="http://gateway:8080", description="where the functions ring /async-function/…")
    workspace_dir: Path = Field(default_factory=lambda: Path(tempfile.gettempdir()), description="scratch space of running jobs")

    # the job protocol (reference: docs/decisions/0001)
    lease_seconds: float = 30.0
    beat_seconds: float = 10.0
    cancel_poll_seconds: float = 0.4
    ring_after_seconds: float = 30.0
    max_lost_workers: int = 3
    job_deadline_seconds: float = 3600.0

    # what one owner may do
    max_queued_jobs: int = 100
    max_accepts_per_minute: int = 600

    # what one request and one source may be
    max_body_bytes: int = 256 * KIB
    max_source_bytes: int = 64 * GIB
    max_pixels: int = 33_177_600
    max_duration_seconds: int = 6 * 3600
    max_streams: int = 16
    max_segments: int = 1000
    max_child_memory_bytes: int = 4 * GIB
    upload_url_seconds: int = 6 * 3600
    download_url_seconds: int = 3600

    @property
    def public_endpoint(self) -> str:
        return self.s3_public_endpoint or self.s3_endpoint


class Unset(Exception):
    """A setting is missing or wrong. The text names the variable and says what it should be."""


def value(name: str) -> str | None:
    """One setting as text, from wherever it is given; None when it is not. Raises `Unset`."""
    if name in os.environ:
        return os.environ[name]
    path = os.environ.get(f"{name}_FILE")
    file = Path(path) if path else SECRETS / name.lower().replace("_", "-")
    if not path and not file.is_file():
        return None
    try:
        return file.read_text().strip()
    except OSError as exc:
        raise Unset(f"{name}_FILE names {file}, which cannot be read: {exc.strerror}") from exc


def read(model: type[M], title: str = "settings") -> M:
    """A model whose every field is the setting of its name. Raises `Unset`: `title`, then one sentence per wrong variable."""
    given = {field: found for field in model.model_fields if (found := value(field.upper())) is not None}
    try:
        return model.model_validate(given)
    except ValidationError as exc:
        lines = [f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in exc.errors()]
        raise Unset(f"{title}: " + "; ".join(lines)) from exc


@functools.cache
def load() -> Settings:
    """The process's settings. Raises `Unset`."""
    return read(Settings)
