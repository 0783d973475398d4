"""Log files that stay small: a file past its size moves to `<name>.1`, one generation."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path


def rotate(log: Path, most_bytes: int) -> bool:
    """Copy and cut, because the functions hold the file open (for appending). A line written in between is lost."""
    with contextlib.suppress(OSError):
        if log.stat().st_size > most_bytes:
            shutil.copyfile(log, log.with_suffix(log.suffix + ".1"))
            os.truncate(log, 0)
            return True
    return False
