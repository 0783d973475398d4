"""A whole stack as `nve up` starts it, for the session, and strangers who know its address."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.stranger import Stranger

ROOT = Path(__file__).parents[2]


def nve(*arguments: str, data: Path, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    """One command line, as typed; its output is not a terminal."""
    command = [str(ROOT / "nve"), *arguments, "--data", str(data)]
    clean = {name: value for name, value in os.environ.items() if name not in ("NVE_URL", "NVE_KEY", "NVE_DATA")}
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env={**clean, **environment}, check=False)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data directory of a running stack."""
    data = tmp_path_factory.mktemp("stack") / "data"
    up = nve("up", "--detach", data=data)
    assert up.returncode == 0, up.stderr
    yield data
    down = nve("down", data=data)
    assert down.returncode == 0, down.stderr


def made_clip(path: Path, picture: str, tone: int, rate: int, channels: int) -> Path:
    """H.264 of a lavfi source, a key frame each 60 frames, with a tone in Hz, as AAC."""
    import imageio_ffmpeg

    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", f"sine=f={tone}:r={rate}",
        "-shortest", "-c:v", "libx264", "-g", "60", "-crf", "20", "-pix_fmt", "yuv420p", "-c:a", "aac", "-ac", str(channels),
        "-movflags", "+faststart", str(path),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    return path


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 s of 320x180 at 30 frames a second, a key frame each 2 s, with B frames; 440 Hz at 48 kHz, stereo."""
    return made_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", "testsrc2=s=320x180:r=30:d=8", 440, 48000, 2)


@pytest.fixture(scope="session")
def odd_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 s of 240x200 at 25 frames a second; 880 Hz at 44.1 kHz, mono."""
    return made_clip(tmp_path_factory.mktemp("clips") / "odd.mp4", "testsrc2=s=240x200:r=25:d=3", 880, 44100, 1)


@pytest.fixture(scope="session")
def url(stack: Path) -> str:
    return f"http://127.0.0.1:{json.loads((stack / 'config.json').read_text())['ports']['gateway']}"


@pytest.fixture(scope="session")
def user(stack: Path, url: str) -> Iterator[Stranger]:
    """The owner of the stack's first key."""
    stranger = Stranger(url, (stack / "secrets/key").read_text().strip())
    yield stranger
    stranger.close()


@pytest.fixture(scope="session")
def other(stack: Path, url: str) -> Iterator[Stranger]:
    """Another owner, with a key from `nve keys create`."""
    made = nve("keys", "create", "other", "--json", data=stack)
    assert made.returncode == 0, made.stderr
    stranger = Stranger(url, json.loads(made.stdout)["key"])
    yield stranger
    stranger.close()


@pytest.fixture(scope="session")
def database(stack: Path) -> Any:
    """A connection to the stack's Postgres, to see what exists."""
    import psycopg

    from deployments.local.home import Home

    with psycopg.connect(Home(stack).environment()["DATABASE_URL"], autocommit=True) as connection:
        yield connection
