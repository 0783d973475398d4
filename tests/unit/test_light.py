"""A function's own process stays light: what only the media worker needs is loaded there."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["trim", "status"])
def test_a_handler_loads_no_media_library(name):
    """Importing a handler loads neither FFmpeg's libraries nor the S3 client: they cost memory and start-up time."""
    program = "import sys, handler; print(*[m for m in ('av', 'ffmpeg', 'imageio_ffmpeg', 'boto3') if m in sys.modules])"
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'functions' / name}"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.split() == []
