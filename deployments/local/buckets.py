"""The buckets and who may use them from a browser: made on any S3 store, again and again without harm."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import S3Error

log = logging.getLogger(__name__)


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


def make(store: Minio, settings: Mapping[str, str], name: str) -> None:
    """The bucket, unless it is there, with its rules for browsers. Raises minio's and urllib3's errors."""
    if store.bucket_exists(bucket_name=name):
        return
    try:
        store.make_bucket(bucket_name=name)
    except S3Error as exc:
        if exc.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise
    _open_to_browsers(settings, name)


def set_up(settings: Mapping[str, str]) -> None:
    """Both buckets of the settings. Raises minio's and urllib3's errors."""
    store = client(settings)
    for name in (settings["S3_MEDIA_BUCKET"], settings["S3_OUTPUTS_BUCKET"]):
        make(store, settings, name)


def _open_to_browsers(settings: Mapping[str, str], name: str) -> None:
    """Any page may use a presigned address, which is the permission, and may read what it needs of the answer: a part's ETag, a range."""
    import botocore.exceptions  # only for a new bucket: it takes half a second that no later start should pay

    rule = {
        "AllowedOrigins": ["*"],
        "AllowedMethods": ["GET", "HEAD", "PUT"],
        "AllowedHeaders": ["*"],
        "ExposeHeaders": ["ETag", "Content-Range", "Content-Length", "Accept-Ranges"],
        "MaxAgeSeconds": 3600,
    }
    try:
        _boto3(*(settings[name] for name in ("S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_REGION"))).put_bucket_cors(
            Bucket=name, CORSConfiguration={"CORSRules": [rule]}
        )
    except botocore.exceptions.ClientError as exc:
        # MinIO has no rules per bucket and answers every origin by default.
        if exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode") not in (400, 405, 501):
            raise
        log.warning("the store takes no CORS rules for %s: %s", name, exc)


@functools.cache
def _boto3(endpoint: str, access_key: str, secret_key: str, region: str) -> Any:
    import boto3

    return boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=access_key, aws_secret_access_key=secret_key, region_name=region)
