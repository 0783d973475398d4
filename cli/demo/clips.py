"""Two short real clips, made once per data directory: a moving timecode and frame number, and a tone of its own for each."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cli.failure import Failure

MAKE_SECONDS = 300


@dataclass(frozen=True)
class Recipe:
    """`seconds` of 1080p30 H.264 with one key frame in 250 frames, as cameras and phones write it, and a tone of `hertz`."""

    name: str
    seconds: int
    hertz: int
    #: turns the colours, in degrees, so that the two are told apart at a glance
    hue: int


RECIPES = (Recipe("clip-1.mp4", 20, 440, 0), Recipe("clip-2.mp4", 12, 660, 120))


def make(recipe: Recipe, room: Path) -> Path:
    """The clip; made on the first call, a matter of seconds. Raises Failure."""
    path = room / recipe.name
    if path.exists():
        return path
    import imageio_ffmpeg

    room.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{os.getpid()}-{path.name}")
    # testsrc2 writes the time and the number of each frame into the picture by itself: no font has to be found on this machine.
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-y"]
    command += ["-f", "lavfi", "-i", f"testsrc2=size=1920x1080:rate=30:duration={recipe.seconds}"]
    command += ["-f", "lavfi", "-i", f"sine=frequency={recipe.hertz}:sample_rate=48000:duration={recipe.seconds}"]
    command += ["-vf", f"hue=h={recipe.hue}"] if recipe.hue else []
    # A long GOP is what makes exact cuts hard: the key frame before a cut is up to 8.3 s away.
    command += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-g", "250", "-keyint_min", "250", "-sc_threshold", "0"]
    command += ["-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "128k", "-ac", "2", "-movflags", "+faststart", "-f", "mp4", str(new)]
    try:
        made = subprocess.run(command, capture_output=True, text=True, timeout=MAKE_SECONDS, check=False)
        if made.returncode:
            raise Failure(f"The clip {recipe.name} could not be made: {made.stderr.strip().splitlines()[-1:] or made.returncode}")
        new.replace(path)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise Failure(f"The clip {recipe.name} could not be made in {room}: {exc}") from exc
    finally:
        new.unlink(missing_ok=True)
    return path
