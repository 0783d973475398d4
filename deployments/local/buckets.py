"""The buckets and who may use them from a browser: made on any S3 store, again and again without harm."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import S3Error


def client(settings: Mapping[str, str], seconds: float = 10.0) -> Minio:
    """The store that the settings name. One try per request: whoever needs patience has its own."""
    endpoint = urlsplit(settings["S3_ENDPOINT"])
    return Minio(
        endpoint=endpoint.netloc,
        access_key=settings["S3_ACCESS_KEY"],
        secret_key=settings["S3_SECRET_KEY"],
        region=settings.get("S3_REGION", "us-east-1"),
        secure=endpoint.scheme == "https",
        http_client=urllib3.PoolManager(timeout=urllib3.Timeout(total=seconds), retries=False),
    )


def make(store: Minio, name: str) -> None:
    """The bucket, unless it is there. Raises minio's errors."""
    if store.bucket_exists(bucket_name=name):
        return
    try:
        store.make_bucket(bucket_name=name)
    except S3Error as exc:
        if exc.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise


def set_up(settings: Mapping[str, str]) -> None:
    """Both buckets, open to the browsers that hold a presigned address. Raises minio's, urllib3's and botocore's errors."""
    store = client(settings)
    for name in (settings["S3_MEDIA_BUCKET"], settings["S3_OUTPUTS_BUCKET"]):
        make(store, name)
