"""MinIO as the tests' store, in SeaweedFS's place: `NVE_TEST_STORE=minio`, with a `minio` on the PATH or named by `NVE_MINIO`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from deployments.local import ports
from deployments.local.seaweed import Seaweed
from deployments.local.trouble import Trouble


class Minio(Seaweed):
    """The same doors and the same first question, another server behind them."""

    name = "minio"
    ports = ("s3", "weed_admin")

    def prepare(self) -> None:
        (self.home.path / "objects").mkdir(exist_ok=True)

    def command(self) -> Sequence[str | Path]:
        found = os.environ.get("NVE_MINIO") or shutil.which("minio")
        if not found:
            raise Trouble("There is no MinIO here: put one on the PATH, or name it with NVE_MINIO.")
        at = self.home.ports
        addresses = ["--address", f"{ports.BIND}:{at['s3']}", "--console-address", f"{ports.BIND}:{at['weed_admin']}"]
        return [found, "server", "--quiet", *addresses, self.home.path / "objects"]

    def environment(self) -> Mapping[str, str]:
        return {
            "MINIO_ROOT_USER": self.home.secret("s3-access"),
            "MINIO_ROOT_PASSWORD": self.home.secret("s3-secret"),
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",  # nothing here calls home
            "MINIO_CALLHOME_ENABLE": "off",
        }
