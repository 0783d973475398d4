"""A world per test, and one clip that takes seconds to encode."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import pytest

from tests.faults.world import World

# Long enough that a fault lands inside the encode, short enough that a test ends: about two seconds of work on two cores.
SECONDS, RATE = 32, 30


@pytest.fixture(scope="session")
def slow_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """960 frames of 640x360 with a tone: 10 MB, so that it is not read whole to know it."""
    path = tmp_path_factory.mktemp("clips") / "slow.mp4"
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", f"testsrc2=s=640x360:r={RATE}:d={SECONDS}",
        "-f", "lavfi", "-i", f"sine=f=440:r=48000:d={SECONDS}", "-vf", "noise=alls=10:allf=t", "-c:v", "libx264", "-preset", "ultrafast",
        "-crf", "26", "-g", "90", "-pix_fmt", "yuv420p", "-c:a", "aac", "-movflags", "+faststart", str(path),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    return path


@pytest.fixture
def world(environment: dict[str, str], tmp_path: Path) -> Iterator[World]:
    it = World(environment, tmp_path)
    yield it
    it.close()


@pytest.fixture
def request_body(world: World, slow_clip: Path) -> dict[str, object]:
    """A trim that encodes everything, so that there is time to break it."""
    return {"source": world.upload(slow_clip), "start": "1", "end": "18.5", "mode": "encode"}


FRAMES = 525  # of [1, 18.5) at 30 a second
