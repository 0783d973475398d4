"""The whole local stack is stopped while it works."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import pytest

from deployments.local import ports, stack
from deployments.local.home import Home
from tests.acceptance.stranger import Stranger
from tests.services.gateway.conftest import until


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "home")
    made.prepare(well_known=False)
    yield made
    stack.stop(made)
    ports.release(made.path, made.ports)
    shutil.rmtree(made.path, ignore_errors=True)


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three minutes of 1280x720, made of three seconds: nobody encodes it again in less than the test takes."""
    folder, make = tmp_path_factory.mktemp("clips"), [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y"]
    short = ["-f", "lavfi", "-i", "testsrc2=s=1280x720:r=30:d=3", "-c:v", "libx264", "-preset", "ultrafast", "-g", "30"]
    subprocess.run([*make, *short, str(folder / "short.mp4")], check=True, timeout=60)
    again = ["-stream_loop", "59", "-i", str(folder / "short.mp4"), "-c", "copy", "-movflags", "+faststart"]
    subprocess.run([*make, *again, str(folder / "long.mp4")], check=True, timeout=60)
    return folder / "long.mp4"


@pytest.mark.slow
def test_down_takes_four_seconds_while_two_encodes_run(home: Home, long_clip: Path) -> None:
    """`nve down` in the middle of two encodes: four seconds at most, the gateway ends by itself, and both jobs go on at the next start."""
    running = stack.start(home)
    user = Stranger(running.url, running.key)
    asset = user.upload(long_clip)
    jobs = [user.submit("trim", {"source": asset, "start": n, "end": 179, "mode": "encode"})["id"] for n in (1, 2)]
    until(lambda: all(user.job(job)["progress"]["frames"] > 0 for job in jobs), "two encodes", within=60)

    began = time.monotonic()
    assert stack.stop(home)
    took = time.monotonic() - began

    user.close()
    events = [json.loads(line)["event"] for line in (home.path / "logs/gateway.log").read_text().splitlines() if line.startswith("{")]
    assert "broke off" not in events
    assert events[-1] == "stopped"
    assert took <= 4
    user = Stranger(stack.start(home).url, running.key)
    until(lambda: all(user.job(job)["attempt"] == 2 for job in jobs), "both begun again", within=30)
    assert {user.job(job)["state"] for job in jobs} == {"running"}
    for job in jobs:
        user.http.delete(f"/function/status/{job}")
    user.close()
